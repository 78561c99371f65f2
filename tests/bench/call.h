/*
 * call.h - the POST that the peers make: a bearer token from a file and 200 bytes of JSON, the
 * answer dropped. An error ends the program.
 */
#ifndef AWQ_BENCH_CALL_H
#define AWQ_BENCH_CALL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <curl/curl.h>

#define CALL_BODY_BYTES 200
#define CALL_TOKEN_MAX  4096

static inline size_t call_drop(char *data, size_t size, size_t n, void *owner)
{
    (void)data;
    (void)owner;
    return size * n;
}

static inline struct curl_slist *call_headers(const char *token_file)
{
    char token[CALL_TOKEN_MAX] = "", line[CALL_TOKEN_MAX + 32];
    FILE *file = fopen(token_file, "r");
    struct curl_slist *list;

    if (!file || !fgets(token, sizeof token, file)) {
        perror(token_file);
        exit(1);
    }
    fclose(file);
    snprintf(line, sizeof line, "Authorization: Bearer %s", token);
    list = curl_slist_append(NULL, line);
    return curl_slist_append(list, "Content-Type: application/json");
}

static inline CURL *call_new(const char *url, struct curl_slist *headers)
{
    static char body[CALL_BODY_BYTES + 1];
    CURL *easy = curl_easy_init();

    memset(body, 'y', CALL_BODY_BYTES);
    memcpy(body, "{\"x\":\"", 6);
    memcpy(body + CALL_BODY_BYTES - 2, "\"}", 2);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)CALL_BODY_BYTES);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, call_drop);
    return easy;
}

static inline void call_check(CURL *easy, CURLcode result)
{
    long status = 0;

    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (result != CURLE_OK || status != 200) {
        fprintf(stderr, "call: %s, status %ld\n", curl_easy_strerror(result), status);
        exit(1);
    }
}
#endif
