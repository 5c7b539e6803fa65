/*
 * connection: one kept FastCGI connection: its bytes, its request, and the answer on its way out.
 *
 * It knows nothing of the loop or the application. Its socket is non-blocking.
 */
#ifndef LARDER_CONNECTION_H
#define LARDER_CONNECTION_H

#include "server/gateway.h"
#include "server/pool.h"

/* Bytes received in one go: a head of the greatest length, or the longest management record. */
enum { CONNECTION_SCRATCH = 80 * 1024 };

enum connection_state {
    CONNECTION_IDLE,    /* between requests */
    CONNECTION_PARTIAL, /* part of a request has come, not so much as the next says */
    CONNECTION_BODY,    /* a head that announces a body has come, and not all of the body */
    CONNECTION_HELD,    /* a whole request has come, and is kept in `input` until it may be begun */
    CONNECTION_BUSY,    /* a request is being answered, by whomever */
    CONNECTION_SENDING, /* the answer waits for the peer to read */
    CONNECTION_LINGERING, /* nothing more will be sent: input is thrown away until the peer closes */
    CONNECTION_ENDED      /* closed; freed at the end of the round, for events of the same round may still name it */
};

struct connection {
    struct pool_job job; /* first: a job of the pool is its connection */
    struct connection *next, *previous;
    struct connection *again; /* worker.c's list of those to look at again, or of those ended */
    void *owner;
    int fd;
    enum connection_state state;
    bool is_again;
    bool input_while_busy; /* an edge came that nobody has looked at */
    bool has_more;         /* the last look left something in the socket, perhaps */
    bool input_ended;      /* the peer sends nothing more */
    bool is_cut;           /* the request is answered although not all of it has come */
    bool close_after;      /* the answer is the last one */
    bool changes;          /* the request may change something */
    int64_t deadline_ms;   /* monotonic; 0: none */
    struct connection_room *room; /* while there is a request */
    struct http http;
    struct buf input; /* a request that has come in part, or that connection_read is to read */
    size_t sent;      /* bytes of the response */
};

/* The memory in which requests are answered. What was given back last is used next, for it is still in the processor's caches. */
struct connection_rooms {
    struct connection_room *spare;
    unsigned count;   /* of them */
    struct str mount; /* of a request that names none (LARDER_MOUNT) */
};

/* When a request began: once for all that are found in one round of events. */
struct connection_clock {
    int64_t wall_ms;      /* since the epoch */
    int64_t monotonic_us;
};

/* What a look at the socket found. */
enum connection_look {
    CONNECTION_NOTHING, /* or not a whole request yet: state says */
    CONNECTION_REQUEST, /* a whole one, or one whose body is too large to be waited for */
    CONNECTION_CLOSED,  /* by the peer, or broken */
    CONNECTION_INVALID  /* head->why */
};

enum connection_sent { CONNECTION_SENT, CONNECTION_SOME, CONNECTION_FAILED };

struct connection *connection_new(int fd);
/* Closes the descriptor. */
void connection_close(struct connection *connection);
/* Closes where that was not done, gives its room back to ROOMS, and frees. */
void connection_free(struct connection **connection, struct connection_rooms *rooms);
void connection_rooms_fini(struct connection_rooms *rooms);
/* Receives, answers management records, scans. SCRATCH has CONNECTION_SCRATCH bytes. MAX_CONNECTIONS goes into the answer to GET_VALUES.
 * CONNECTION_REQUEST: *BYTES, in SCRATCH or in `input`, are the request, and HEAD its scan. */
enum connection_look connection_look(struct connection *connection, char *scratch, unsigned max_connections, uint64_t max_body,
                                     struct str *bytes, struct fcgi_head *head);
/* What has come in CONNECTION_BODY, as connection_look gives it. */
void connection_recall(const struct connection *connection, struct str *bytes, struct fcgi_head *head);
/* Keeps BYTES, a whole request as connection_look gave it, in CONNECTION_HELD. */
void connection_hold(struct connection *connection, struct str bytes);
/* Whether what has been kept of the input is a whole request: *BYTES, and HEAD its scan. */
bool connection_has_request(const struct connection *connection, struct str *bytes, struct fcgi_head *head);
/* Begins to answer it, in connection->http, in a room of ROOMS. Results as gateway_begin. When `input` is not empty then, the request is for
 * connection_read. */
enum err connection_begin(struct connection *connection, struct str bytes, const struct fcgi_head *head,
                          const struct connection_clock *clock, struct connection_rooms *rooms, const char **why) ERR_CHECKED;
/* Reads `input`, if it is not empty, as gateway_read does. For a pool thread. */
enum err connection_read(struct connection *connection, uint64_t max_body, const char **why) ERR_CHECKED;
/* Frames the response and begins to send it. */
enum connection_sent connection_respond(struct connection *connection);
/* Sends what is left. */
enum connection_sent connection_send(struct connection *connection);
/* The answer has been sent: back to idle. */
void connection_finish(struct connection *connection, struct connection_rooms *rooms);
/* Throws away what has come. False once the peer has closed. */
bool connection_discard(struct connection *connection, char *scratch);

#endif
