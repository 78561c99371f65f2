/*
 * cert_rig.h - certificates and keys for tests, made by libcrypto.
 * Owns    nothing: texts are added to the caller's buffers.
 * Thread  any.
 */
#ifndef AWQ_CERT_RIG_H
#define AWQ_CERT_RIG_H

#include "common/buf.h"
#include "common/client_cert.h"

/* Adds PEM of a new self-signed certificate of CN=name and of its key. days: from now until its
 * end. bits: of an RSA key; 0: a P-256 one. */
void cert_make(const char *name, int days, unsigned bits, struct buf *cert, struct buf *key);
/* The same, opened. */
struct client_cert *cert_client(const char *name);

#endif
