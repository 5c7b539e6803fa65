/*
 * terms: on what terms a write is to be carried out, by the request's header fields: once (Idempotency-Key), and only
 * if what is there is as the client thinks (If-Match, If-None-Match; RFC 9110, section 13.1).
 */
#ifndef LARDER_TERMS_H
#define LARDER_TERMS_H

#include "api/app.h"

/* Adds the request's terms to ASK; views in the request's arena. False when they cannot be heeded: HTTP has been
 * answered. */
bool terms_read(struct exchange *exchange, struct writer_client_ask *ask);

/* Adds to the answer of a write that TOLD is what an earlier request was answered, where it is. */
void terms_tell(struct exchange *exchange, const struct writer_client_told *told);
/* Answers a write that was refused on its terms: ERR_CHANGED, ERR_EXISTS. */
void terms_refused(struct exchange *exchange, enum err err);

#endif
