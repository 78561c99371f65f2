/*
 * wake.pml - no lost wake: a job that is parked for a token is looked at again once one is there.
 *
 * One connection and its lot in one shard: workers park jobs, a renewer stores a token and wakes, the
 * housekeeper drains lots that are due, and hands the jobs out again. README.md says more.
 */
#define WORKERS 2 /* QUIET names them */
#ifndef JOBS
#define JOBS 3
#endif
#ifndef RENEWALS /* and how often the token ends after them */
#define RENEWALS 2
#endif
#ifndef CRASHES /* of the renewer between store and wake, of a worker between park and recheck */
#define CRASHES 0
#endif

/* The lot's score. A wake makes it 0, and each further one 1 less (wake.lua). */
#define NONE  99
#define LATER 10 /* look again, some time */
#define NOW   5  /* that time has come */
#define DUE   (score <= NOW)

short score = NONE;
byte parked, ready = JOBS;
bool token;
byte renewals, ends, crashes;

/* a worker with a job: has seen no token, has parked, has seen one and is to wake */
#define IDLE    0
#define PARKING 1
#define LOOKING 2
#define WAKING  3
byte pc[WORKERS];
byte rpc;                        /* the renewer: 0, or WAKING */
byte hpc;                        /* the housekeeper: 0, 1 has read the agenda, 2 has looked, 3 moved */
short had;                       /* the score that it read */
bool drain;

#define SAY(what) \
    printf("%e: score %d, parked %d, ready %d, token %d\n", what, score, parked, ready, token)
mtype = { takes, parks, looks, wakes, stores, token_ends, agenda, judges, promotes, closes, time, dies }

/* a lot with jobs is never forgotten: its look-again time comes whatever else is lost */
inline judge() { assert(parked == 0 || score != NONE) }

inline wake() { /* wake.lua */
    if
    :: score == NONE
#ifdef M_WAKE_SAME_SCORE
    :: score != NONE -> score = (score > 0 -> 0 : score)
#else
    :: score != NONE -> score = (score - 1 < 0 -> score - 1 : 0)
#endif
    fi
}

proctype worker(byte w)
{
    do
    :: d_step { pc[w] == IDLE && ready > 0 -> /* step_authorize.c */
        ready--;
        if
        :: token -> skip /* the step goes on, and is done */
        :: else -> pc[w] = PARKING
        fi;
        SAY(takes) }
    :: d_step { pc[w] == PARKING -> /* park.lua */
        parked++;
        score = (score > LATER -> LATER : score);
#ifdef M_NO_RECHECK
        pc[w] = IDLE;
#else
        pc[w] = LOOKING;
#endif
        SAY(parks); judge() }
    :: d_step { pc[w] == LOOKING -> /* token.c, on_recheck */
        pc[w] = (token -> WAKING : IDLE);
        SAY(looks) }
    :: d_step { pc[w] == WAKING -> wake(); pc[w] = IDLE; SAY(wakes); judge() }
    :: d_step { pc[w] > PARKING && crashes < CRASHES -> crashes++; pc[w] = IDLE; SAY(dies) }
    od
}

proctype renewer()
{
    do
#ifdef M_WAKE_BEFORE_STORE
    :: d_step { rpc == 0 && !token && renewals < RENEWALS -> wake(); rpc = WAKING; SAY(wakes); judge() }
    :: d_step { rpc == WAKING -> renewals++; token = 1; rpc = 0; SAY(stores) }
#else
    :: d_step { rpc == 0 && !token && renewals < RENEWALS -> renewals++; token = 1; rpc = WAKING; SAY(stores) }
    :: d_step { rpc == WAKING -> wake(); rpc = 0; SAY(wakes); judge() } /* renew_store.c, stored */
#endif
    :: d_step { rpc == WAKING && crashes < CRASHES -> crashes++; rpc = 0; SAY(dies) }
    :: d_step { token && rpc == 0 && ends + 1 < RENEWALS -> ends++; token = 0; SAY(token_ends) }
    od
}

proctype housekeeper() /* house_lots.c; the lots it has read may be old when it comes to them */
{
    do
    :: d_step { hpc == 0 && DUE -> had = score; hpc = 1; SAY(agenda) }
    :: d_step { hpc == 1 -> drain = token; hpc = 2; SAY(judges) }
    :: d_step { hpc == 2 ->
        if
        :: drain && parked > 0 -> parked--; ready++
        :: else
        fi;
        hpc = 3; SAY(promotes); judge() }
    :: d_step { hpc == 3 -> /* lot.lua; jobs that are left of those that may go on are looked at at once */
        if
#ifdef M_LOT_FORGETS
        :: drain -> score = NONE
#else
        :: parked == 0 -> score = NONE
#endif
#ifdef M_LOT_ANY_SCORE
        :: else -> score = (drain -> NOW : LATER)
#else
        :: else ->
            if
            :: score == had || score == NONE -> score = (drain -> NOW : LATER)
            :: else
            fi
#endif
        fi;
        hpc = 0; had = 0; drain = 0; SAY(closes); judge() }
    :: d_step { score == LATER && crashes > 0 -> score = NOW; SAY(time) }
    od
}

/* Everybody has done what they were about to, there is a token, and jobs wait: then their lot is due.
 * Where somebody died on the way, the look-again time stands in. */
#define QUIET (hpc == 0 && rpc == 0 && pc[0] == IDLE && pc[1] == IDLE)
proctype watch()
{
    d_step { QUIET && token && parked > 0 && !DUE && crashes == 0 -> assert(false) }
}

init {
    atomic {
        run worker(0); run worker(1); run renewer(); run housekeeper(); run watch()
    }
}
