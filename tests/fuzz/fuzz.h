/*
 * fuzz.h - what every fuzz target needs: CHECK, which must hold for any input.
 * Owns    nothing.
 * Thread  the only one.
 */
#ifndef AWQ_FUZZ_H
#define AWQ_FUZZ_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#endif
