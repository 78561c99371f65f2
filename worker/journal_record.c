#include "worker/journal_record.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/id.h"
#include "worker/commit.h"
#include "worker/worker.h"

#define FRAME_HEAD 12

/* ---- texts ---- */

static bool put(struct buf *b, struct slice s, bool c_string)
{
    uint32_t n = htonl((uint32_t)s.len);

    return buf_add(b, &n, 4) && buf_add_slice(b, s) && (!c_string || buf_add_char(b, '\0'));
}

static bool get(struct slice *in, struct slice *out, bool c_string)
{
    uint32_t n;

    if (in->len < 4)
        return false;
    memcpy(&n, in->ptr, 4);
    n = ntohl(n);
    *in = slice_sub(*in, 4, in->len);
    if (n > in->len)
        return false;
    *out = slice_sub(*in, 0, n);
    *in = slice_sub(*in, n, in->len);
    if (!c_string)
        return true;
    if (in->len == 0 || in->ptr[0] != '\0')
        return false;
    *in = slice_sub(*in, 1, in->len);
    return true;
}

bool journal_texts_write(struct buf *b, const struct slice *texts, size_t count, uint32_t c_strings)
{
    for (size_t i = 0; i < count; i++) {
        if (!put(b, texts[i], c_strings >> i & 1))
            return false;
    }
    return true;
}

bool journal_texts_read(struct slice in, struct slice *texts, size_t count, uint32_t c_strings)
{
    for (size_t i = 0; i < count; i++) {
        if (!get(&in, &texts[i], c_strings >> i & 1))
            return false;
    }
    return in.len == 0;
}

/* ---- frames ---- */

bool journal_frame(struct buf *b, uint64_t number, struct slice sealed)
{
    unsigned char head[FRAME_HEAD];
    uint32_t n = htonl((uint32_t)sealed.len);

    memcpy(head, &n, 4);
    for (size_t i = 0; i < 8; i++)
        head[4 + i] = (unsigned char)(number >> (8 * (7 - i)));
    return buf_reserve(b, sizeof head + sealed.len) && buf_add(b, head, sizeof head) &&
           buf_add_slice(b, sealed);
}

bool journal_unframe(struct slice *in, uint64_t *number, struct slice *sealed)
{
    uint32_t n;

    if (in->len < FRAME_HEAD)
        return false;
    memcpy(&n, in->ptr, 4);
    n = ntohl(n);
    *number = 0;
    for (size_t i = 4; i < FRAME_HEAD; i++)
        *number = *number << 8 | (unsigned char)in->ptr[i];
    if (n > in->len - FRAME_HEAD)
        return false;
    *sealed = slice_sub(*in, FRAME_HEAD, n);
    *in = slice_sub(*in, FRAME_HEAD + n, in->len);
    return true;
}

struct seal_place journal_place(struct slice prefix, struct slice worker, uint64_t number)
{
    return (struct seal_place){prefix, worker, "journal", 0, number, SLICE_NONE};
}

/* ---- moves ---- */

#define TEXTS     19
/* those that the rest of the worker uses as C strings */
#define C_STRINGS 0x3f03fu

bool journal_move_write(struct buf *b, const struct move *m)
{
    char numbers[128];

    snprintf(numbers, sizeof numbers, "%d %" PRIu64 " %" PRIu32 " %" PRId64 " %" PRId64 " %" PRId64,
             (int)m->kind, m->seq, m->reclaims, m->at_ms, m->look_ms, m->queued_ms);
    const struct slice texts[TEXTS] = {
        slice_cstr(numbers),
        slice_cstr(m->queue->name),
        slice_cstr(m->entry),
        slice_cstr(m->run),
        slice_cstr(m->name),
        slice_cstr(m->nonce),
        m->j,
        m->s,
        m->out,
        m->result,
        m->next_j,
        m->next_s,
        slice_cstr(m->state),
        slice_cstr(m->resource),
        slice_cstr(m->code),
        slice_cstr(m->text),
        slice_cstr(m->big_digest),
        slice_cstr(m->last_error),
        m->big,
    };

    return journal_texts_write(b, texts, TEXTS, C_STRINGS);
}

bool journal_move_read(struct move *m, struct queue *queue, const char *worker, struct slice bytes)
{
    struct slice t[TEXTS];
    int kind;

    if (!journal_texts_read(bytes, t, TEXTS, C_STRINGS) ||
        sscanf(t[0].ptr, "%d %" SCNu64 " %" SCNu32 " %" SCNd64 " %" SCNd64 " %" SCNd64, &kind,
               &m->seq, &m->reclaims, &m->at_ms, &m->look_ms, &m->queued_ms) != 6 ||
        kind < MOVE_COMMIT || kind > MOVE_BURY || !id_is_queue(t[1]) ||
        !slice_copy(t[1], queue->name, sizeof queue->name))
        return false;
    key_queue(&queue->key, SHARD, t[1]);
    m->kind = (enum move_kind)kind;
    m->queue = queue;
    m->consumer = worker;
    m->entry = t[2].ptr;
    m->run = t[3].ptr;
    m->name = t[4].ptr;
    m->nonce = t[5].ptr;
    m->j = t[6];
    m->s = t[7];
    m->out = t[8];
    m->result = t[9];
    m->next_j = t[10];
    m->next_s = t[11];
    m->state = t[12].ptr;
    m->resource = t[13].ptr;
    m->code = t[14].ptr;
    m->text = t[15].ptr;
    m->big_digest = t[16].ptr;
    m->last_error = t[17].ptr;
    m->big = t[18];
    return true;
}
