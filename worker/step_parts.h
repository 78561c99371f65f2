/*
 * step_parts.h - the inside of a step, for the files that make it up: step.c (the machine),
 * step_pool.c (the slots), step_admit.c (what came, and may it start), step_producer.c (who put
 * it), step_load.c (a long input), step_authorize.c (lane and token), step_mark.c (ambiguous:
 * dead), step_build.c (what is sent), step_token.c (and where the token goes in it), step_prove.c
 * (its proof), step_request.c (on the wire), step_limits.c (does the answer say that it is too
 * much), step_judge.c (what an answer means), step_leave.c (its move).
 */
#ifndef AWQ_WORKER_STEP_PARTS_H
#define AWQ_WORKER_STEP_PARTS_H

#include "common/expand.h"
#include "common/http.h"
#include "common/id.h"
#include "common/oauth.h"
#include "common/wire.h"
#include "worker/commit.h"
#include "worker/step.h"
#include "worker/token.h"
#include "worker/worker.h"

#define STEP_POISON    5 /* reclaims after which a job is a dead letter */
#define STEP_SUSPECT   2 /* from here on a worker holds one such job at a time */
#define STEP_REDIRECTS 5

enum step_state {
    STEP_FREE,
    STEP_TAKEN,
    STEP_VOUCH, /* who put it, and may they? */
    STEP_VOUCHING,
    STEP_ADMIT, /* deadline, delay, poison; know the connection */
    STEP_ADMITTING,
    STEP_LOAD, /* an input too long to travel: read it from the run record */
    STEP_LOADING,
    STEP_AUTHORIZE, /* the lane, a token */
    STEP_AUTHORIZING,
    STEP_MARK, /* ambiguous: dead - write down that a call may leave */
    STEP_MARKING,
    STEP_SEND,
    STEP_SENDING,
    STEP_JUDGE,
    STEP_REFUSE, /* 401 invalid_token: look whether there is a newer token */
    STEP_REFUSING,
    STEP_LEAVING, /* its move is submitted */
    STEP_DONE,
    STEP_STATES
};

struct step {
    /* a slot's own, for all the jobs that pass through it */
    struct worker *w;
    size_t index; /* slot */
    struct buf j, s;
    struct buf input; /* as loaded from the run record */
    struct buf url, body, origin;
    struct buf header_text; /* what headers point into */
    struct buf answer, location;
    struct buf result, next_j, next_s, resource;
    struct envelope env;
    struct http_header headers[WIRE_MAX_PAIRS + PROFILE_HEADERS_MAX + 8];
    /* from here on cleared for each job */
    enum step_state state;
    bool advancing;
    /* the delivery */
    unsigned queue;
    char entry[48];
    uint32_t reclaims;
    int64_t moved_ms; /* field t: when it was queued, of a job that was moved since */
    uint64_t
        lapses; /* of our life, when it was taken: more since, and it may be another's by now */
    size_t cut_from;             /* j is the head of so many bytes; 0: it is whole */
    bool replayed, suspect, bad; /* bad: its envelope could not be trusted; only bury is left */
    struct cont k;               /* where the run stands; changed only to be written again */
    char producer[ID_MAX + 1];   /* who signed it; "" = nobody */
    bool copied;                 /* its run is further than this job */
    char run[ID_MAX + 64];
    char name[JOB_NAME_MAX + 64];
    char nonce[48];
    char idem[65];
    struct err err; /* of the last thing that failed */
    /* whose account */
    struct conn *conn;
    struct token *token;
    bool in_lane; /* holds one of the connection's concurrent slots */
    bool probing; /* the one call that the breaker lets through; its outcome is waited for */
    bool lane_asked, lane_open; /* open: it may begin, and what that takes is taken */
    int64_t lane_wait_ms;
    struct conn *looked; /* a look's answer, until the state function takes it */
    bool relative;       /* url is a path still, below what the token's answer says */
    bool too_much;       /* the answer is one of its profile's signals */
    bool look_done, stalled, marked, replay_used, nonce_used, drop_token, aborted;
    /* the request */
    struct expand *expand;
    char method[24];
    size_t header_count;
    bool has_body;
    struct http_request *rq;
    char checked_cd[65];   /* the settings that url was allowed by */
    int64_t begun_boot_ms; /* the first request of this attempt; hops and a replay share its time */
    unsigned redirects;
    /* the answer */
    enum http_sent sent;
    int status;
    char type[128];
    bool redacted;
    enum oauth_challenge challenge;
    int64_t retry_after_ms;
    int64_t spent_ms; /* the API says that nothing is left of a limit, for so long */
    int64_t started_ms, sent_ms, answered_ms;
    /* the way out */
    struct move move;
    char big_digest[WIRE_DIGEST_HEX + 1];
    char code[48];
    char text[256];
    char last_error[400]; /* a struct err's text, and four words before it */
};

/* step.c: the machine */
void step_advance(struct step *s);

/* step_pool.c */
void step_gone(struct step *s); /* DONE: its slot is free again */
bool steps_other_suspect(const struct step *s);

/* Each file has the functions of some states; they answer the next one. */

/* step_admit.c */
enum step_state step_taken(struct step *s);
enum step_state step_admit(struct step *s);
enum step_state step_admitting(struct step *s);
/* Ask for the connection; the answer is in s->looked when look_done is set. */
enum step_state step_look(struct step *s, bool fresh, enum step_state waits);
/* What was found is no connection's record. */
enum step_state step_bury_unreadable(struct step *s);
/* The same as step_bury for a job that can have no place in a run, under a name of its own. */
enum step_state step_bury_bad(struct step *s, const struct err *why);

/* step_producer.c */
enum step_state step_vouch(struct step *s);
enum step_state step_vouching(struct step *s);

/* step_load.c */
enum step_state step_load(struct step *s);
enum step_state step_loading(struct step *s);

/* step_authorize.c */
enum step_state step_authorize(struct step *s);
enum step_state step_authorizing(struct step *s);
enum step_state step_refuse(struct step *s); /* 401 for a token */
enum step_state step_refusing(struct step *s);

/* step_mark.c */
enum step_state step_mark(struct step *s);
enum step_state step_marking(struct step *s);
void step_unmark(struct step *s); /* the marked call is not made (ambiguous: dead) */

/* step_build.c */
bool step_build_request(struct step *s, struct err *err); /* url, body checked and ready */
/* May the connection call it? Then it is s->url. */
bool step_check_url(struct step *s, struct slice url, struct err *err);
/* Those of the profile: they are for its provider, and may be a secret. */
void step_drop_own_headers(struct step *s);
/* s->url was a path below what comes with the token: now it is an address. */
bool step_place_by_token(struct step *s, struct err *err);

/* step_request.c */
/* On the wire; the step goes on when the answer is there. */
bool step_start_request(struct step *s, struct err *err);
/* s->url is the next hop; the token is dropped if that is another origin's. */
bool step_follow_redirect(struct step *s, struct err *err);
bool step_is_redirect(const struct step *s);

/* step_judge.c */
enum step_state step_judge(struct step *s);

/* step_prove.c: a proof for the request at hand, in *proof (which is initialized in any case);
 * empty where the connection has no key, or the token is not sent. */
bool step_prove(struct step *s, struct buf *proof, struct err *err);
void step_take_nonce(struct step *s, const struct http_result *res);

/* step_token.c */
/* The access token that goes along; "" before there is one. */
struct slice step_sent_token(const struct step *s);
/* Has its connection the token that the call names? */
bool step_has_token(const struct step *s, struct err *err);
/* What a job may not set, for the token goes there: a header; a member of its url's query. */
bool step_is_token_header(const struct step *s, struct slice name);
bool step_leaves_token_out(const struct step *s, struct slice url, struct err *err);
/* Put it where it belongs. What is made for that is in `room`, which the caller wipes once the
 * request is on its way. */
bool step_place_token(const struct step *s, struct http_call *hc, struct buf *room,
                      struct err *err);
/* Adds the address without it, where it goes into the query. */
bool step_drop_token(const struct step *s, struct slice url, struct buf *out);

/* step_limits.c: an answer that says, in its provider's way, that it is too much; *wait_ms: for how
 * long, 0 = it does not say. */
bool step_is_too_much(const struct step *s, const struct http_result *res, int64_t *wait_ms);

/* step_leave.c: each fills s->move, submits it and answers STEP_LEAVING */
enum step_state step_finish(struct step *s, enum result_state state);
enum step_state step_retry(struct step *s, int64_t wait_ms); /* counts an attempt */
enum step_state step_again(struct step *s); /* as the call's retry says, and then a dead letter */
enum step_state step_again_after(struct step *s, int64_t least_ms); /* the same, not sooner */
enum step_state step_put_off(struct step *s, int64_t at_ms);        /* does not */
enum step_state step_park(struct step *s, const char *kind, int64_t look_ms, bool count);
enum step_state step_bury(struct step *s, const struct err *why); /* code = why->rule */
enum step_state step_release(struct step *s);

#endif
