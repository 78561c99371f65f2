/*
 * lease.pml - who may renew a connection's token: the lease protocol, for spin.
 *
 * One connection, its record and lease in Redis, WORKERS workers, one authorization server that
 * rotates refresh tokens and detects reuse. README.md says what is modelled and how to read a
 * counterexample; model.py says which variants and mutants are checked.
 *
 * Each move of the record is one inline, named after its script in common/scripts/ and written in
 * its order, so that the two can be read side by side. Time is counted in ticks; what is older than
 * anybody looks is not counted on. Nothing has to happen soon: a worker that does not move for many
 * ticks is a stopped one.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef VER_MAX /* renewals of one link */
#define VER_MAX 2
#endif
#ifndef FENCE_MAX /* leases given out */
#define FENCE_MAX 4
#endif
#ifndef LINKS_MAX
#define LINKS_MAX 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef LOST /* answers of Redis or of the authorization server that do not arrive */
#define LOST 0
#endif
#ifndef FORGETS /* Redis goes back to an older copy */
#define FORGETS 0
#endif
#ifndef FAILURES /* of the authorization server: a complete answer that is no token; not reached */
#define FAILURES 0
#endif
#ifndef REMOVALS /* conn remove */
#define REMOVALS 0
#endif
#ifndef REVOKES
#define REVOKES 0
#endif
#ifndef DISABLES /* conn disable; it may be enabled again */
#define DISABLES 0
#endif
#ifndef SETTINGS /* conn apply with other settings */
#define SETTINGS 0
#endif
#ifndef REFUSALS /* 401 for a token that looked good */
#define REFUSALS 0
#endif
#ifndef FORGIVES /* the server answers a replay of the last refresh token; else it ends the grant */
#define FORGIVES 0
#endif
#ifndef REPLAYS /* token.replay: once */
#define REPLAYS 1
#endif

/* ticks; CALL < LEASE, as settings.c demands */
#define LEASE 2
#define GRACE 1
#define CALL  1
#define LIFE  2
#define OLD   (LEASE + GRACE)
#define LATER 1 /* a backoff */

/* the record's state */
#define DUE      1
#define RENEWING 2
#define FRESH    3
#define BACKOFF  4
#define CONSENT  5
#define DISABLED 6
#define REMOVED  7

/* where a worker is: renew.h */
#define IDLE    0
#define ASKED   1 /* ACQUIRING: the answer did not come */
#define LEASED  2
#define CALLING 3
#define STORING 4
#define FAILING 5

/* classes of fail.lua */
#define NOT_SENT  1
#define TRANSIENT 2
#define REFUSED   3 /* consent */
#define UNKNOWN   4

/* what scripts answer; model.py knows the numbers */
#define A_HAVE    1
#define A_LEASE   2
#define A_BUSY    3
#define A_GRACE   4
#define A_BACKOFF 5
#define A_CONSENT 6
#define A_BEHIND  7
#define A_GONE    8
#define A_STORED  9
#define A_CFG     10
#define A_LOST    11
#define A_FAILED  12
#define A_RESTORED 13
#define A_MOVED   14
#define A_OK      15
#define A_NONE    16

/* A nonce is the number of the worker whose renewal under way it is of, from 1; 0 is none, or one
 * that nobody asks with any more. */
typedef record {
    byte gen, ver, st, exp;      /* exp: ticks of life left */
    byte ds;                     /* the state behind DISABLED */
    byte rt;                     /* the refresh token: the how manieth of its link */
    byte own;                    /* ghost: the link that rt is of */
    byte link;                   /* ghost: the link that gen stands for */
    byte fence;
    byte iff, inn, ita;          /* intent: fence, nonce, age */
    byte pf, rn;                 /* first fence of a lost answer, replays */
    byte nxt;                    /* ticks of backoff left */
    byte sff, sfn, fff, ffn;     /* marks of the last store and fail: fence, nonce */
    byte cd;                     /* which settings */
    byte lsf, lsn, lsl           /* the lease: fence, nonce, ticks left (0 = none) */
}
record r;
record old; /* what Redis would go back to */
bool copied;

/* the workers */
byte pc[WORKERS];
byte kg[WORKERS], kv[WORKERS];   /* gen and ver it knows */
byte rg[WORKERS], rv[WORKERS];   /* gen and ver its renewal starts from */
byte rf[WORKERS], rr[WORKERS];   /* its fence; replays */
byte ra[WORKERS];                /* ticks since it first asked */
byte rcd[WORKERS];               /* the settings it sealed for */
byte rrt[WORKERS], rof[WORKERS]; /* the refresh token it sends, then the one it got; of which link */
byte why[WORKERS];               /* class of failure */
byte mg[WORKERS], mv[WORKERS], mf[WORKERS], mcd[WORKERS], mrt[WORKERS], mof[WORKERS], mx[WORKERS]; /* memory.c */

/* requests at the authorization server, one for each worker */
byte rq[WORKERS];                /* 0 none, 1 on its way, 2.. answered: 1 + TOKEN etc. */
#define RQ_NONE      0
#define RQ_SENT      1
#define RQ_TOKEN     2
#define RQ_TRANSIENT 3
#define RQ_REFUSED   4
byte qrt[WORKERS], qof[WORKERS]; /* what was sent, then what came back */
bool counted[WORKERS];           /* ghost: it counts as a call for (call_of, call_rt) */
bool excused[WORKERS];           /* ghost: Redis forgot the lease it calls under */

/* the authorization server: per link, its current refresh token, and whether reuse ended it */
byte cur[LINKS_MAX + 1];
bool dead[LINKS_MAX + 1];

/* what may still happen */
byte gens = 1; /* handed out */
byte links = 1, crashes, lost, forgets, failures, removals, disables, revokes, settings, refusals;

/* ghosts, only looked at by asserts */
byte call_of, call_rt, calls, replayed; /* calls with this refresh token that may have used it up */
byte granted = OLD;                     /* ticks since a lease was given out */
byte stored[LINKS_MAX + 1];             /* highest version stored of a link */

#ifdef SHORTEST /* spin searches breadth first only without hidden variables */
#define SCRATCH
#else
#define SCRATCH hidden
#endif
SCRATCH byte ans, f, again, gone, og, ov, i;

/* names of moves and steps, to be printed */
mtype = { m_acquire, m_cannot_send, m_copy, m_crash, m_disable, m_enable, m_ends, m_fail,
    m_forget, m_gets_invalid_grant, m_gets_no_answer, m_gets_token, m_gets_transient, m_link,
    m_loses_answer_of, m_may_not_replay, m_reads, m_refuse, m_remove, m_request_never_arrives_of,
    m_restore, m_revoke, m_sends, m_server_fails_for, m_server_forgives, m_server_refuses,
    m_server_rotates_for, m_settings, m_store, m_tick, m_too_late_to_send }

/* The worker's side, then the record: trace.py makes the same move on the real script and compares. */
#define SAY(what, w) \
    printf("MOVE %e %d %d %d %d\n", what, w, ans, f, pc[w]); \
    printf("ARGS %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", kg[w], kv[w], rg[w], rv[w], \
        rf[w], rr[w], rcd[w], rrt[w], rof[w], why[w], mg[w], mv[w], mf[w], mcd[w], mrt[w], mof[w], mx[w]); \
    printf("REC %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", r.gen, r.ver, \
        r.st, r.ds, r.exp, r.rt, r.own, r.fence, r.iff, r.inn, r.ita, r.pf, r.rn, r.nxt, r.sff, \
        r.sfn, r.fff, r.ffn, r.cd, r.lsf, r.lsn, r.lsl)
#define NOTE(what, w) printf("NOTE %e %d\n", what, w)

/* ---- invariants ---- */

/* A version never goes back within a gen, nor a gen; tokens are of the link they lie in. */
inline begin() { og = r.gen; ov = r.ver }
inline judge() {
    assert(r.gen > og || (r.gen == og && r.ver >= ov));
    assert(r.own == r.link)
}

/* ---- acquire.lua ---- */

inline acquire(w) {
    if
    :: r.st == DISABLED || r.st == REMOVED -> ans = A_GONE
    :: else ->
        if
        :: rg[w] > r.gen || (rg[w] == r.gen && rv[w] > r.ver) -> ans = A_BEHIND
        :: else ->
            if
            :: r.st == CONSENT -> ans = A_CONSENT
            :: r.st != CONSENT && r.ver > 0 && r.exp > 0 && !(rg[w] == r.gen && rv[w] == r.ver) ->
                ans = A_HAVE
            :: else -> acquire_lease(w)
            fi
        fi
    fi
}

inline acquire_lease(w) {
    if
    :: r.lsl > 0 && r.lsn != w + 1 -> ans = A_BUSY
    :: r.lsl > 0 && r.lsn == w + 1 -> ans = A_LEASE; f = r.lsf
    :: else ->
        again = (r.iff > 0 && r.inn == w + 1);
        gone = (r.iff > 0 && !again);
#ifdef M_NO_INTENT
        gone = 0;
#endif
        if
#ifdef M_NO_GRACE
        :: gone && r.ita < LEASE -> ans = A_GRACE
#else
        :: gone && r.ita < LEASE + GRACE -> ans = A_GRACE
#endif
#ifdef M_GRACE_STARTS_ANEW
            r.ita = 0
#endif
        :: else ->
            if
            :: r.nxt > 0 -> ans = A_BACKOFF
            :: else ->
                if
                :: gone ->
                    if
                    :: r.pf == 0 -> r.pf = r.iff
                    :: else
                    fi;
                    r.rn++
                :: else
                fi;
                if
                :: again -> f = r.iff
                :: else -> r.fence++; f = r.fence
                fi;
                r.lsf = f; r.lsn = w + 1; r.lsl = LEASE;
                r.st = RENEWING; r.iff = f; r.inn = w + 1; r.ita = 0;
                ans = A_LEASE;
                granted = 0
            fi
        fi
    fi
}

/* ---- store.lua ---- */

inline forget_marks() {
    r.iff = 0; r.inn = 0; r.ita = 0; r.nxt = 0; r.fff = 0; r.ffn = 0; r.pf = 0; r.rn = 0
}
inline put_state(to) {
    if
    :: r.st == DISABLED -> r.ds = to
    :: else -> r.st = to
    fi
}
inline free_lease() { r.lsf = 0; r.lsn = 0; r.lsl = 0 }

#ifdef M_NO_VERSION
#define STORE_LOST(w) false
#else
#ifdef M_STORE_KNOWN_FENCE
#define STORE_LOST(w) (rf[w] < (r.pf > 0 -> r.pf : r.fence) || rf[w] > r.fence || r.ver != rv[w])
#else
#define STORE_LOST(w) (r.ver != rv[w])
#endif
#endif

inline store(w) {
    if
    :: r.gen != rg[w] || r.st == REMOVED -> ans = A_LOST
    :: else ->
        if
        :: r.sfn == w + 1 && r.sff == rf[w] && r.ver == rv[w] + 1 -> ans = A_STORED
        :: else ->
            if
            :: STORE_LOST(w) ->
                ans = A_LOST;
                /* an answer that nobody is ahead of is the only one there is */
                assert(r.ver != rv[w])
            :: else ->
                if
                :: r.cd != rcd[w] -> ans = A_CFG
                :: else ->
                    forget_marks();
                    r.ver = rv[w] + 1; r.exp = LIFE; put_state(FRESH); r.sff = rf[w]; r.sfn = w + 1;
                    r.rt = rrt[w]; r.own = rof[w];
                    r.fence = (rf[w] > r.fence -> rf[w] : r.fence);
                    free_lease();
                    ans = A_STORED;
                    if
                    :: stored[r.own] < r.ver -> stored[r.own] = r.ver
                    :: else
                    fi
                fi
            fi
        fi
    fi
}

/* ---- fail.lua ---- */

inline fail(w) {
    if
#ifdef M_PLAIN_DEL
    :: r.gen == rg[w] && r.fence != rf[w] -> /* a late word frees whoever's lock and mark it is */
        free_lease(); r.iff = 0; r.inn = 0; r.ita = 0; ans = A_LOST
    :: r.gen != rg[w] || r.st == REMOVED -> ans = A_LOST
#else
#ifdef M_FAIL_NO_FENCE
    :: r.gen != rg[w] || r.st == REMOVED -> ans = A_LOST
#else
    :: r.gen != rg[w] || r.fence != rf[w] || r.st == REMOVED -> ans = A_LOST
#endif
#endif
    :: else ->
        if
        :: r.ffn == w + 1 && r.fff == rf[w] -> ans = A_FAILED
        :: else ->
            if
#ifndef M_FAIL_NO_FENCE
#ifdef M_FAIL_NO_NONCE
            :: r.iff != rf[w] || (r.lsl > 0 && !(r.lsf == rf[w] && r.lsn == w + 1)) -> ans = A_LOST
#else
            :: r.iff != rf[w] || r.inn != w + 1 -> ans = A_LOST
#endif
#endif
            :: else -> fail_write(w)
            fi
        fi
    fi
}

inline fail_write(w) {
    r.inn = 0;
    if
    :: r.pf > 0 && why[w] != UNKNOWN && why[w] != REFUSED -> r.iff = r.pf; r.ita = OLD; r.rn--
#ifdef M_UNKNOWN_CLEARS
    :: r.pf == 0 || why[w] == REFUSED || why[w] == UNKNOWN -> r.iff = 0; r.ita = 0
#else
    :: (r.pf == 0 || why[w] == REFUSED) && why[w] != UNKNOWN -> r.iff = 0; r.ita = 0
#endif
    :: else
    fi;
    if
    :: why[w] == REFUSED ->
        put_state(CONSENT); r.nxt = 0;
        /* what was refused is what there is: invalid_grant never ends a newer version */
        assert(r.ver == rv[w] && r.rt == rrt[w] && r.own == rof[w])
    :: else -> put_state(BACKOFF); r.nxt = LATER
    fi;
    r.fff = rf[w]; r.ffn = w + 1;
    free_lease();
    ans = A_FAILED
}

/* ---- restore.lua ---- */

inline restore(w) {
    if
    :: r.st == REMOVED -> ans = A_GONE
    :: else ->
        if
#ifdef M_RESTORE_NO_GEN
        :: r.ver >= mv[w] -> ans = A_MOVED
#else
#ifdef M_RESTORE_NO_VER
        :: r.gen != mg[w] -> ans = A_MOVED
#else
        :: r.gen != mg[w] || r.ver >= mv[w] -> ans = A_MOVED
#endif
#endif
        :: else ->
            if
            :: r.cd != mcd[w] -> ans = A_CFG
            :: else ->
                forget_marks(); r.sff = 0; r.sfn = 0;
                r.ver = mv[w]; r.exp = mx[w]; put_state(FRESH); r.rt = mrt[w]; r.own = mof[w];
                r.fence = (mf[w] > r.fence -> mf[w] : r.fence);
                free_lease();
                ans = A_RESTORED
            fi
        fi
    fi
}

/* ---- apply.lua, remove.lua, revoke.lua, disable.lua ---- */

/* The time: it goes on although Redis forgets. */
inline next_gen() {
#ifdef M_GEN_FROM_RECORD
    r.gen++
#else
    gens++; r.gen = gens
#endif
}

inline apply_link() {
    links++;
    if
    :: r.st == REMOVED -> r.st = DUE
    :: else
    fi;
    next_gen(); r.ver = 0; put_state(DUE); r.exp = 0; r.rt = 0; r.own = links; r.link = links;
    r.cd = (r.cd == 0 -> 1 : r.cd);
    forget_marks(); r.sff = 0; r.sfn = 0;
    free_lease();
    ans = A_OK
}

inline apply_settings() {
    r.cd = 3 - r.cd;
    r.nxt = 0;
    if
    :: r.ver > 0 && r.st == FRESH -> r.st = DUE
    :: else
    fi;
    if
    :: r.ver > 0 -> r.exp = 0
    :: else
    fi;
    if
    :: r.st == BACKOFF -> r.st = DUE
    :: else
    fi;
    ans = A_OK
}

inline revoke() {
    next_gen(); r.ver = 0; put_state(CONSENT); r.exp = 0; r.rt = 0; r.own = 0; r.link = 0;
    forget_marks(); r.sff = 0; r.sfn = 0;
    free_lease();
    ans = A_OK
}

inline enable() {
    if
    :: r.ds == CONSENT || r.ds == BACKOFF -> r.st = r.ds
    :: else -> r.st = (r.exp > 0 -> FRESH : DUE)
    fi;
    r.ds = 0;
    ans = A_OK
}

inline remove() {
    next_gen(); r.ver = 0; r.st = REMOVED; r.ds = 0; r.exp = 0; r.rt = 0; r.own = 0; r.link = 0; r.cd = 0;
    r.fence = 0;
    forget_marks(); r.sff = 0; r.sfn = 0;
    free_lease();
    ans = A_OK
}

/* ---- what a worker does between scripts ---- */

/* Its nonce is nobody's any more. */
inline drop_nonce(w) {
    if :: r.inn == w + 1 -> r.inn = 0 :: else fi;
    if :: r.lsn == w + 1 -> r.lsn = 0 :: else fi;
    if :: r.sfn == w + 1 -> r.sfn = 0; r.sff = 0 :: else fi;
    if :: r.ffn == w + 1 -> r.ffn = 0; r.fff = 0 :: else fi;
    if :: old.inn == w + 1 -> old.inn = 0 :: else fi;
    if :: old.lsn == w + 1 -> old.lsn = 0 :: else fi;
    if :: old.sfn == w + 1 -> old.sfn = 0; old.sff = 0 :: else fi;
    if :: old.ffn == w + 1 -> old.ffn = 0; old.fff = 0 :: else fi
}

/* renewal_free */
inline end(w) {
    pc[w] = IDLE; rg[w] = 0; rv[w] = 0; rf[w] = 0; rr[w] = 0; ra[w] = 0; rcd[w] = 0; rrt[w] = 0;
    rof[w] = 0; why[w] = 0; excused[w] = 0;
    drop_nonce(w);
    NOTE(m_ends, w)
}

/* From now on steps of this worker send the token of (gen, ver): it must have been stored. */
inline adopt(w, link, gen, ver) {
    kg[w] = gen; kv[w] = ver;
    assert(ver <= stored[link])
}

/* on_acquire */
inline on_acquire(w) {
    if
    :: ans == A_LEASE ->
        pc[w] = LEASED; rf[w] = f; rg[w] = r.gen; rv[w] = r.ver; rr[w] = r.rn; rcd[w] = r.cd;
        rrt[w] = r.rt; rof[w] = r.own
#ifdef M_CALL_WHEN_BUSY
    :: ans == A_BUSY ->
        pc[w] = LEASED; rf[w] = r.fence; rg[w] = r.gen; rv[w] = r.ver; rr[w] = r.rn; rcd[w] = r.cd;
        rrt[w] = r.rt; rof[w] = r.own
#endif
    :: else ->
        if
        :: ans == A_BUSY || ans == A_GRACE -> assert(granted < OLD)
        :: else
        fi;
        end(w)
    fi
}

/* The request leaves: lease_is_ours has looked at the lease just before. */
inline send(w) {
    if
    :: excused[w]
    :: !excused[w] && calls > 0 && call_of == rof[w] && call_rt == rrt[w] ->
        /* at most one call for each version, but for the one replay that is counted as such ... */
        assert(rr[w] > 0 && !replayed);
        replayed = 1;
        /* ... and never while the answer of the one before may still be stored in time */
        i = 0;
        do
        :: i < WORKERS ->
            assert(i == w || !counted[i] || (pc[i] != CALLING && pc[i] != STORING) || ra[i] >= OLD);
            i++
        :: else -> break
        od;
        calls++;
        counted[w] = 1
    :: else -> call_of = rof[w]; call_rt = rrt[w]; calls = 1; replayed = 0;
        i = 0;
        do
        :: i < WORKERS -> counted[i] = 0; i++
        :: else -> break
        od;
        counted[w] = 1
    fi;
    rq[w] = RQ_SENT; qrt[w] = rrt[w]; qof[w] = rof[w];
    pc[w] = CALLING
}

/* A call that used up nothing does not count. */
inline uncount(w) {
    if
    :: counted[w] && calls > 0 ->
        calls--;
        counted[w] = 0;
        if
        :: calls > 0 -> replayed = 0
        :: else
        fi
    :: else
    fi
}

inline drop_request(w) { rq[w] = RQ_NONE; qrt[w] = 0; qof[w] = 0 }

#ifdef M_REPLAY_ALWAYS
#define MAY_REPLAY(w) true
#else
#define MAY_REPLAY(w) (rr[w] <= REPLAYS)
#endif
#ifdef M_LEASE_NOT_LOOKED_AT
#define LEASE_IS_OURS(w) true
#else
#define LEASE_IS_OURS(w) (ra[w] + CALL < LEASE)
#endif

proctype worker(byte w)
{
    do
    /* token.c, take_record: what Redis says, be it older than what we know (after BEHIND_MS) */
    :: d_step { pc[w] == IDLE && (kg[w] != r.gen || kv[w] != r.ver) ->
        kg[w] = r.gen; kv[w] = r.ver; NOTE(m_reads, w) }

    :: d_step { pc[w] == IDLE && r.fence < FENCE_MAX && r.ver < VER_MAX && r.st < DISABLED ->
        begin(); f = 0; rg[w] = kg[w]; rv[w] = kv[w]; acquire(w); judge(); SAY(m_acquire, w);
        on_acquire(w) }
    :: d_step { pc[w] == IDLE && r.fence < FENCE_MAX && r.ver < VER_MAX && r.st < DISABLED && lost < LOST ->
        NOTE(m_loses_answer_of, w); lost++;
        begin(); f = 0; rg[w] = kg[w]; rv[w] = kv[w]; acquire(w); judge(); SAY(m_acquire, w);
        pc[w] = ASKED }
    :: d_step { pc[w] == ASKED && r.fence < FENCE_MAX ->
        begin(); f = 0; acquire(w); judge(); SAY(m_acquire, w); on_acquire(w) }

    :: d_step { pc[w] == LEASED && rq[w] == RQ_NONE && MAY_REPLAY(w) && LEASE_IS_OURS(w) -> NOTE(m_sends, w); send(w) }
    :: d_step { pc[w] == LEASED && !MAY_REPLAY(w) -> NOTE(m_may_not_replay, w); pc[w] = FAILING; why[w] = REFUSED }
    :: d_step { pc[w] == LEASED && MAY_REPLAY(w) && !LEASE_IS_OURS(w) ->
        NOTE(m_too_late_to_send, w); pc[w] = FAILING; why[w] = NOT_SENT }
    :: d_step { pc[w] == LEASED && MAY_REPLAY(w) && LEASE_IS_OURS(w) && failures < FAILURES ->
        NOTE(m_cannot_send, w); failures++; pc[w] = FAILING; why[w] = NOT_SENT }

    :: d_step { pc[w] == CALLING && rq[w] == RQ_TOKEN ->
        NOTE(m_gets_token, w); pc[w] = STORING; rrt[w] = qrt[w]; drop_request(w);
#ifdef M_USE_BEFORE_STORE
        adopt(w, rof[w], rg[w], rv[w] + 1)
#endif
        }
    :: d_step { pc[w] == CALLING && rq[w] == RQ_TRANSIENT ->
        NOTE(m_gets_transient, w); pc[w] = FAILING; why[w] = TRANSIENT; drop_request(w) }
    :: d_step { pc[w] == CALLING && rq[w] == RQ_REFUSED ->
        NOTE(m_gets_invalid_grant, w); pc[w] = FAILING; why[w] = REFUSED; drop_request(w) }
    :: d_step { pc[w] == CALLING && lost < LOST -> /* no answer; the request may arrive yet */
        NOTE(m_gets_no_answer, w); lost++; pc[w] = FAILING; why[w] = UNKNOWN;
        if
        :: rq[w] > RQ_SENT -> drop_request(w)
        :: else
        fi }

    :: d_step { pc[w] == STORING ->
        begin(); store(w); judge(); SAY(m_store, w);
        if
        :: ans == A_STORED ->
#if FORGETS > 0
            mg[w] = rg[w]; mv[w] = rv[w] + 1; mf[w] = rf[w]; mcd[w] = rcd[w]; mrt[w] = rrt[w];
            mof[w] = rof[w]; mx[w] = LIFE;
#endif
            adopt(w, rof[w], rg[w], rv[w] + 1);
            end(w)
        :: ans == A_CFG -> rcd[w] = r.cd
        :: else -> end(w)
        fi }
    :: d_step { pc[w] == STORING && lost < LOST ->
        NOTE(m_loses_answer_of, w); lost++; begin(); store(w); judge(); SAY(m_store, w) }

    :: d_step { pc[w] == FAILING -> begin(); fail(w); judge(); SAY(m_fail, w); end(w) }
    :: d_step { pc[w] == FAILING && lost < LOST ->
        NOTE(m_loses_answer_of, w); lost++; begin(); fail(w); judge(); SAY(m_fail, w) }

    /* memory.c; restores are sent when Redis is another one, or behind */
    :: d_step { mv[w] > 0 && forgets > 0 ->
        begin(); restore(w); judge(); SAY(m_restore, w);
        if
        :: ans == A_MOVED || ans == A_GONE ->
            mg[w] = 0; mv[w] = 0; mf[w] = 0; mcd[w] = 0; mrt[w] = 0; mof[w] = 0; mx[w] = 0
        :: ans == A_CFG -> mcd[w] = r.cd
        :: else
        fi }

    :: d_step { refusals < REFUSALS && kv[w] > 0 && kg[w] == r.gen && kv[w] == r.ver && r.exp > 0 ->
        refusals++; ans = A_OK; r.exp = 0; SAY(m_refuse, w) }

    :: d_step { crashes < CRASHES ->
        crashes++; SAY(m_crash, w);
        if
        :: rq[w] > RQ_SENT -> drop_request(w)
        :: else
        fi;
        kg[w] = 0; kv[w] = 0;
        mg[w] = 0; mv[w] = 0; mf[w] = 0; mcd[w] = 0; mrt[w] = 0; mof[w] = 0; mx[w] = 0;
        end(w) }

    /* ---- the authorization server answers this worker's request ---- */

    :: d_step { rq[w] == RQ_SENT ->
        if
        :: !dead[qof[w]] && qrt[w] == cur[qof[w]] ->
            NOTE(m_server_rotates_for, w); cur[qof[w]]++; rq[w] = RQ_TOKEN; qrt[w] = cur[qof[w]]
        :: !dead[qof[w]] && FORGIVES && qrt[w] + 1 == cur[qof[w]] ->
            NOTE(m_server_forgives, w); rq[w] = RQ_TOKEN; qrt[w] = cur[qof[w]]
        :: else ->
            if
            :: !FORGIVES -> dead[qof[w]] = 1
            :: else
            fi;
            NOTE(m_server_refuses, w); rq[w] = RQ_REFUSED
        fi;
        if
        :: pc[w] != CALLING -> drop_request(w) /* nobody waits for it any more */
        :: else
        fi }
    :: d_step { rq[w] == RQ_SENT && failures < FAILURES ->
        NOTE(m_server_fails_for, w); failures++; uncount(w); rq[w] = RQ_TRANSIENT;
        if
        :: pc[w] != CALLING -> drop_request(w)
        :: else
        fi }
    :: d_step { rq[w] == RQ_SENT && pc[w] != CALLING ->
        NOTE(m_request_never_arrives_of, w); uncount(w); drop_request(w) } /* never arrives */
    od
}

inline age(x) {
    if :: x.exp > 0 -> x.exp-- :: else fi;
    if :: x.nxt > 0 -> x.nxt-- :: else fi;
    if :: x.iff > 0 && x.ita < OLD -> x.ita++ :: else fi;
    if
    :: x.lsl > 1 -> x.lsl--
    :: x.lsl == 1 -> x.lsl = 0; x.lsf = 0; x.lsn = 0
    :: else
    fi
}

inline copy(from, to) {
    to.gen = from.gen; to.ver = from.ver; to.st = from.st; to.ds = from.ds; to.exp = from.exp; to.rt = from.rt;
    to.own = from.own; to.link = from.link; to.fence = from.fence; to.iff = from.iff;
    to.inn = from.inn; to.ita = from.ita; to.pf = from.pf; to.rn = from.rn; to.nxt = from.nxt;
    to.sff = from.sff; to.sfn = from.sfn; to.fff = from.fff; to.ffn = from.ffn; to.cd = from.cd;
    to.lsf = from.lsf; to.lsn = from.lsn; to.lsl = from.lsl
}

proctype world()
{
    do
    :: d_step { true ->
        ans = 0;
        age(r);
        if :: copied -> age(old) :: else fi;
        if :: granted < OLD -> granted++ :: else fi;
        i = 0;
        do
        :: i < WORKERS ->
            if :: pc[i] != IDLE && ra[i] < OLD -> ra[i]++ :: else fi;
            if :: mx[i] > 0 -> mx[i]-- :: else fi;
            i++
        :: else -> break
        od;
        SAY(m_tick, 0) }

    :: d_step { links < LINKS_MAX -> begin(); apply_link(); judge(); SAY(m_link, 0) }
    :: d_step { settings < SETTINGS && r.st < DISABLED ->
        settings++; begin(); apply_settings(); judge(); SAY(m_settings, 0) }
    :: d_step { removals < REMOVALS && r.st != REMOVED ->
        removals++; begin(); remove(); judge(); SAY(m_remove, 0) }
    :: d_step { disables < DISABLES && r.st < DISABLED ->
        disables++; ans = A_OK; r.ds = r.st; r.st = DISABLED; SAY(m_disable, 0) }
    :: d_step { r.st == DISABLED -> enable(); SAY(m_enable, 0) }
    :: d_step { revokes < REVOKES && r.st != REMOVED ->
        revokes++; begin(); revoke(); judge(); SAY(m_revoke, 0) }

    :: d_step { forgets < FORGETS && !copied -> copied = 1; copy(r, old); ans = 0; SAY(m_copy, 0) }
    :: d_step { forgets < FORGETS && copied ->
        forgets++; copied = 0;
        /* calls that it does not know of any more are not held against those who come after */
        if
        :: old.gen != r.gen || old.ver != r.ver || old.fence != r.fence || old.iff != r.iff ||
            old.rn != r.rn ->
            calls = 0; replayed = 0; call_of = 0; call_rt = 0;
            i = 0;
            do
            :: i < WORKERS -> counted[i] = 0; excused[i] = (pc[i] != IDLE); i++
            :: else -> break
            od
        :: else
        fi;
        copy(old, r);
        old.gen = 0; old.ver = 0; old.st = 0; old.ds = 0; old.exp = 0; old.rt = 0; old.own = 0; old.link = 0;
        old.fence = 0; old.iff = 0; old.inn = 0; old.ita = 0; old.pf = 0; old.rn = 0; old.nxt = 0;
        old.sff = 0; old.sfn = 0; old.fff = 0; old.ffn = 0; old.cd = 0; old.lsf = 0; old.lsn = 0;
        old.lsl = 0;
        ans = 0;
        SAY(m_forget, 0) }
    od
}

init {
    d_step {
        r.gen = 1; r.st = DUE; r.own = 1; r.link = 1; r.cd = 1
    };
    atomic {
        byte n = 0;
        do
        :: n < WORKERS -> run worker(n); n++
        :: else -> break
        od;
        run world()
    }
}
