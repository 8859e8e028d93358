/* What net/_short*.c share. */
#ifndef OTTER_SHORT_H
#define OTTER_SHORT_H

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>
#include <sys/socket.h>

#define HERE __attribute__((visibility("hidden"))) /* not for other libraries */

/* A header: net/wire.py. */
enum {
    AT_FORM = 6, AT_FLAGS = 7, AT_METADATA = 8, AT_BODY = 12, AT_REPLY = 20, AT_SEQ = 28,
    AT_RUN = 36, AT_NUMBER = 44, AT_MADE = 52, AT_QUEUED = 60, AT_SENT = 68, AT_EXPIRES = 76,
    HEADER_BYTES = 84
};

/* Numbers as the network has them. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "net/plain does it here"
#endif

static inline uint64_t get64(const char *at) {
    uint64_t v;
    memcpy(&v, at, 8);
    return __builtin_bswap64(v);
}

static inline uint32_t get32(const char *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return __builtin_bswap32(v);
}

static inline uint16_t get16(const char *at) {
    uint16_t v;
    memcpy(&v, at, 2);
    return __builtin_bswap16(v);
}

static inline double get_double(const char *at) {
    uint64_t v = get64(at);
    double d;
    memcpy(&d, &v, 8);
    return d;
}

static inline void put64(char *at, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(at, &v, 8);
}

static inline void put_double(char *at, double d) {
    uint64_t v;
    memcpy(&v, &d, 8);
    put64(at, v);
}

#define MAX_TIME 1e15

/* False for nan as well. */
static inline int is_time(double d) {
    return -MAX_TIME < d && d < MAX_TIME;
}

/* Whether the times in a message's header are such. */
static inline int has_times(const char *head) {
    double expires = get_double(head + AT_EXPIRES);
    return is_time(get_double(head + AT_MADE)) && is_time(get_double(head + AT_QUEUED))
        && is_time(get_double(head + AT_SENT)) && 0 <= expires && expires < MAX_TIME;
}

#ifndef MSG_NOSIGNAL /* macOS has none: Python ignores SIGPIPE anyway */
#define MSG_NOSIGNAL 0
#endif

/* What a message is made of; the rest of it is net.messages.Message, in Python. */
enum {
    VALUE, SEQ, RUN, NUMBER, REPLY_TO, MADE, QUEUED, SENT, EXPIRES, SIZE, URGENT, SOURCE, STREAM,
    RECEIVED, TAKEN, MISSING, CARRIER, RECORDED, FINISHED, TWINS, EXACTLY_ONCE, ANSWERS, HELD, COUNT
};

typedef struct {
    PyObject_HEAD
    PyObject *field[COUNT];
} Fields;

/* Memory to receive into, and the short messages that lie in it. */
typedef struct {
    PyObject_HEAD
    PyObject *memory;  /* a bytearray, exported for as long as we live: it can't move */
    PyObject *type;    /* of messages: a subclass of Fields */
    PyObject *source, *stream, *carrier; /* what each message gets; never NULL */
    Py_buffer view;
    Py_ssize_t at, end, limit;
} Scratch;

/* What one task waits for; with a desk: for the desk's next message. */
enum { PENDING, DONE, CANCELLED };

typedef struct {
    PyObject_HEAD
    PyObject *loop, *callback, *context;
    PyObject *desk, *result;
    char blocking, state, yielded, iterates;
} Waiter;

/* An input: net.inbox.Inbox is one. */
typedef struct {
    PyObject_HEAD
    PyObject *waiters, *items, *current, *on_message, *clock, *loop;
    char by_hand, closed, ended, discarding;
} Desk;

/* A connection: net.tcp.connection.Connection is one. */
typedef struct {
    PyObject_HEAD
    double last; /* when something was last said on it */
    unsigned heard; /* how often something had been received by then */
    int fd;
    char free, joined; /* nothing is in front of what is said; something waits to be said together */
} Link;

/* Counts of one end of one stream: net.stats.EdgeStats is one. */
typedef struct {
    PyObject_HEAD
    PyObject *times;
    long long messages, nbytes;
    Py_ssize_t together;
} Tally;

/* What the receiver hasn't acknowledged: net.delivery.Outstanding is one. */
typedef struct {
    PyObject_HEAD
    PyObject *written;
    Py_ssize_t nbytes, most_bytes, most_messages;
    char full;
} Debts;

/* The way of short messages that leave, of one sending end. */
typedef struct {
    PyObject_HEAD
    PyObject *name, *numbers, *clock, *debts, *tally;
    PyObject *before; /* bytes: empty, or the head of a record */
    PyObject *burst, *link; /* None: something is in the way */
    unsigned long long run, seq;
    double close_s;
    Py_ssize_t most;
    char kept;
} Way;

/* A new one with what is so for every message; what is particular is the caller's to set. */
HERE Fields *fields_new(PyTypeObject *type, PyObject *source, PyObject *stream, PyObject *received,
                        PyObject *carrier);
HERE int fields_done(Fields *self); /* not 0: it raised */

/* How often something was received, by all. What is said after that isn't one of many: it answers. */
extern HERE unsigned heard;

/* Receive what fits behind `end`; as recv says. */
HERE Py_ssize_t scratch_receive(Scratch *self, int fd);
/* The short message that comes next, or None: net/plain says when. */
HERE PyObject *scratch_next(Scratch *self, PyObject *received);

/* The head of a record in which a message goes, if it goes in one: net/shared/records.py. */
enum { RECORD_KIND_BYTES = 8, RECORD_BYTES = 32 }; /* then the message's size */
HERE uint64_t record_says(const char *record);

/* A short message as bytes. */
typedef struct {
    const char *before, *metadata, *body, *reply;
    Py_ssize_t before_bytes, metadata_bytes, body_bytes, reply_bytes;
    uint64_t number[3]; /* seq, run, number */
    double time[4];     /* made, queued, sent, expires */
} Parts;
HERE PyObject *parts_joined(const Parts *parts, int form, int flags);

/* Whether nothing is in front of what is sent. */
HERE int way_is_free(Way *self);
/* The kernel didn't take all of it, but so much (below 0: nothing): tell the link. */
HERE PyObject *way_unsent(Link *link, PyObject *data, Py_ssize_t sent, int error);
/* at_once(value, run, number, reply_to, made): whether it was sent. */
HERE PyObject *way_at_once(Way *self, PyObject *const *args, Py_ssize_t count);

/* Let the task go on that waits: now, or in the loop's next turn. */
HERE PyObject *waiter_tell(Waiter *self, int now);
/* The next message, None: there is none; NULL: an error. */
HERE PyObject *desk_take(Desk *self);

/* Write a number in decimal, or in at least so many hexadecimal digits; how long that is. */
HERE Py_ssize_t digits_of(char *to, unsigned long long number, unsigned base, int least);

/* Seconds since 1970 by a clock, which is time.time mostly; not 0: it raised. */
HERE int now_of(PyObject *clock, double *now);
/* One more message, of so many bytes. */
HERE int tally_took(Tally *self, Fields *message);
/* Whether one more has all added up, which is Python's, and may run anything. */
HERE int tally_adds_up(Tally *self);

/* Make a type of `spec` and add it to the module; NULL: it failed. Lent: the module keeps it. */
HERE PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject *base);

/* What a receiver has seen of a stream: net.delivery.Progress is one. */
typedef struct {
    PyObject_HEAD
    PyObject *open, *ahead;
    unsigned long long received, done;
} Seen;

/* Whether a record says where a message lies, `before` being the head of another kind's. */
HERE int record_is_slot(const char *record, const char *before);
/* The message of which the record in memory says where it lies; None: look more closely. */
HERE PyObject *shown_message(PyObject *shown, Scratch *scratch, PyObject *received);

/* The methods of objects without fields of Python's. */
#define IS_SET(object) ((object) != NULL && (object) != Py_None)
#define IS_A(object, type) ((object) != NULL && PyObject_TypeCheck(object, type))
#define CALL(self, name) PyObject_CallMethodObjArgs((PyObject *)(self), name, NULL)
#define TELL(self, name, what) PyObject_CallMethodObjArgs((PyObject *)(self), name, what, NULL)

/* Constants, made once. */
enum { START_BYTES = 6 };
extern HERE char start[START_BYTES];
extern HERE PyObject *empty, *zero, *nought, *no_tuple;
extern HERE PyTypeObject *fields_type, *scratch_type, *waiter_type, *desk_type, *link_type, *tally_type,
    *way_type, *seen_type;

/* Add types; not 0: it failed. Each needs those before it. */
HERE int add_fields(PyObject *module);
HERE int add_waiter(PyObject *module);
HERE int add_desk(PyObject *module);
HERE int add_sending(PyObject *module);
HERE int add_seen(PyObject *module);
HERE int add_shown(PyObject *module);
HERE int add_arrays(PyObject *module);
HERE int add_copying(PyObject *module);
HERE int add_receiving(PyObject *module);

#endif
