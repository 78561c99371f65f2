/*
 * child.h - the programs that the demo starts.
 * Owns    a pid until its end was seen. Output goes to FOLDER/NAME.log.
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG: a program is not there, or it ended with an error; its log says why.
 */
#ifndef AWQ_DEMO_CHILD_H
#define AWQ_DEMO_CHILD_H

#include <stdbool.h>
#include <sys/types.h>
#include "common/err.h"

struct child {
    pid_t pid;     /* 0: not started, or gone */
    char name[32]; /* of its log */
    char log[160];
};

#define CHILD_PATH_BYTES 512

/* DIR/NAME where this program lies in DIR, or NAME alone, for PATH, when it is not there. */
void child_find(const char *name, char out[CHILD_PATH_BYTES]);

/*
 * argv[0] is found by child_find. It dies with the demo, unless
 * outlives: then it is out of reach of a ^C on the terminal too.
 */
bool child_start(struct child *c, const char *name, const char *folder, const char *const *argv,
                 bool outlives, struct err *err);
bool child_run(const char *name, const char *folder, const char *const *argv, struct err *err);

bool child_is_running(struct child *c);
void child_signal(const struct child *c, int number);
void child_end(struct child *c); /* SIGKILL, and wait for it; fine if it is not there */

bool child_wait_stopped(const struct child *c); /* after SIGSTOP; false: it is gone */

/* It is stopped. How many sockets of its that lead to this loopback port hold bytes it has not
 * read. */
unsigned child_unread_sockets(const struct child *c, unsigned port);
#endif
