/*
 * doctor_parts.h - the inside of awq-ctl doctor, for the files that make it up: doctor.c (Redis
 * itself), doctor_fleet.c (workers), doctor_accounts.c (connections), doctor_queues.c (what is
 * ready), doctor_aside.c (what is set aside), doctor_rights.c (may it).
 */
#ifndef AWQ_CTL_DOCTOR_PARTS_H
#define AWQ_CTL_DOCTOR_PARTS_H

#include <stdint.h>
#include "tools/ctl/checks.h"
#include "tools/ctl/ctl.h"

struct redis_reply;

struct doctor {
    struct ctl *c;
    struct checks checks;
    struct redis_reply *info;
    int64_t now_ms;
};

/* An integer reply, or -1 where Redis answers with an error. */
int64_t doctor_ask(struct doctor *d, const char *command, const char *key);
int64_t doctor_count(struct doctor *d, const char *command, const char *key); /* then 0 */

int doctor_fleet(struct doctor *d); /* an exit code */
int doctor_queues(struct doctor *d);
void doctor_accounts(struct doctor *d);
void doctor_aside(struct doctor *d);
bool doctor_rights(struct doctor *d); /* false: this user may not even ask */

#endif
