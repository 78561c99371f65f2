/*
 * gauge.h - readings: the CPU time and memory of a process, a peer's count, Redis' own counters.
 * Thread  the loop thread only.
 * Units   us of CPU time, kernel and user; KiB.
 * Source  proc(5): /proc/PID/task/TID/schedstat counts in ns, where utime and stime count in 10 ms.
 */
#ifndef AWQ_BENCH_GAUGE_H
#define AWQ_BENCH_GAUGE_H

#include <stdint.h>
#include <sys/types.h>
#include "tools/bench/rig.h"

double gauge_cpu_us(pid_t pid);         /* of all its threads that still live */
int64_t gauge_peak_kib(pid_t pid);      /* VmHWM */
uint64_t gauge_count(const char *path); /* tests/bench/count.h; 0 when there is none yet */
int64_t gauge_added(struct rig *r, struct store *s);    /* results so far */
int64_t gauge_commands(struct rig *r, struct store *s); /* that clients sent, our own left out */
#endif
