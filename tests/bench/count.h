/*
 * count.h - the file in which a peer keeps the number of steps it has done, for awq-bench to read
 * at any moment: 8 bytes, little endian, mapped.
 */
#ifndef AWQ_BENCH_COUNT_H
#define AWQ_BENCH_COUNT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static inline volatile uint64_t *count_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *map = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(uint64_t)) == 0)
        map = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    return map;
}
#endif
