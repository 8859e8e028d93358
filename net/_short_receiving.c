/* The whole receiving of a short message: from the socket to the task that waits for it.
 *
 *   Arrivals  the receiving end of a connection: net.tcp.receiving.ReceivingConnection
 *
 * What isn't commonest goes to the subclasses' methods: `_readable`, `_arrived`, `_take_all`, `_done`.
 * net/plain has the same in Python.
 */
#include "_short.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

enum { MOST_AT_ONCE = 64, MOST_SKIPPED = 32, MOST_STAYS = 256 };
static PyObject *str_readable, *str_record, *str_arrived, *str_take_all, *str_done, *str_unread, *str_popleft;
static PyObject *str_append, *str_live, *str_progress, *str_ready, *str_stopping, *str_scheduled, *str_when,
    *str_slot_taken, *str_come;

/* The first that is open is done with, and nothing is ahead of it: 1: so it is; 0: it isn't that. */
static int seen_done(Seen *self, PyObject *seq) {
    if (self->open == NULL || self->ahead == NULL || PyObject_Size(self->open) < 1
        || PyObject_Size(self->ahead) != 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *first = PySequence_GetItem(self->open, 0);
    Py_XDECREF(first); /* the line has it still */
    if (first != seq) {
        return first == NULL ? -1 : 0;
    }
    first = CALL(self->open, str_popleft);
    if (first == NULL) {
        return -1;
    }
    self->done = PyLong_AsUnsignedLongLong(first);
    Py_DECREF(first);
    return PyErr_Occurred() ? -1 : 1;
}

/* --- Arrivals ------------------------------------------------------------------------------- */

typedef struct {
    Link link;
    PyObject *scratch, *inbox, *edge, *progress, *tally, *clock, *timer;
    PyObject *incoming; /* through shared memory: where arrays lie; or None */
    PyObject *before; /* bytes: the head of records in which messages come; or None */
    int skip, epoll; /* the loop's; below 0: none */
    Py_ssize_t unsaid, unsaid_bytes, most_unsaid, most_unsaid_bytes;
    char quick, acks, ended;
} Arrivals;

static int Arrivals_traverse(Arrivals *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->scratch);
    Py_VISIT(self->inbox);
    Py_VISIT(self->edge);
    Py_VISIT(self->progress);
    Py_VISIT(self->tally);
    Py_VISIT(self->clock);
    Py_VISIT(self->timer);
    Py_VISIT(self->before);
    Py_VISIT(self->incoming);
    return 0;
}

static int Arrivals_clear(Arrivals *self) {
    Py_CLEAR(self->scratch);
    Py_CLEAR(self->inbox);
    Py_CLEAR(self->edge);
    Py_CLEAR(self->progress);
    Py_CLEAR(self->tally);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->timer);
    Py_CLEAR(self->before);
    Py_CLEAR(self->incoming);
    return 0;
}

static void Arrivals_dealloc(Arrivals *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Arrivals_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* The task that waits for this very message, which needs no queue; NULL: there is none, or an error.
 * What another task has taken is done with when this one takes: `take_now` says so. Its own: one. */
static Waiter *one_who_waits(Arrivals *self, Fields *message) {
    Desk *desk = (Desk *)self->inbox;
    Seen *seen = (Seen *)self->progress;
    PyObject **field = message->field;
    if (desk->closed || desk->discarding || IS_SET(desk->on_message) || IS_SET(desk->current)
        || tally_adds_up((Tally *)self->tally) || desk->items == NULL || desk->waiters == NULL
        || seen->open == NULL || !seen->received || PyObject_Size(desk->items) != 0
        || PyObject_Size(desk->waiters) < 1
        || PyLong_AsUnsignedLongLong(field[SEQ]) != seen->received + 1
        || PyFloat_AsDouble(field[EXPIRES]) != 0.0) {
        return NULL;
    }
    PyObject *first = PySequence_GetItem(desk->waiters, 0);
    if (IS_A(first, waiter_type)) {
        Waiter *waiter = (Waiter *)first;
        if (waiter->state == PENDING && waiter->callback != NULL && waiter->result == NULL
            && waiter->desk == (PyObject *)desk) {
            return waiter;
        }
    }
    Py_XDECREF(first);
    return NULL;
}

/* What a queue would say of it on its way to the task. */
static int account(Arrivals *self, Fields *message, double now) {
    Desk *desk = (Desk *)self->inbox;
    Seen *seen = (Seen *)self->progress;
    PyObject **field = message->field;
    PyObject *taken = PyFloat_FromDouble(now);
    PyObject *said = taken == NULL ? NULL : TELL(seen->open, str_append, field[SEQ]);
    if (said == NULL) {
        Py_XDECREF(taken);
        return -1;
    }
    Py_DECREF(said);
    seen->received++;
    Py_DECREF(field[TAKEN]);
    field[TAKEN] = taken;
    if (tally_took((Tally *)self->tally, message)) {
        return -1;
    }
    if (!desk->by_hand) {
        PyObject *before = desk->current;
        Py_INCREF((PyObject *)message);
        desk->current = (PyObject *)message;
        Py_XDECREF(before);
    }
    return 0;
}

/* Straight to the task: 1: done; 0: it has to be queued; -1: an error. The clock first: it may be in
 * Python, where a signal's handler may cancel who waits. From then on nothing runs but the task. */
static int hand_over(Arrivals *self, Fields *message) {
    double now;
    if (now_of(((Desk *)self->inbox)->clock, &now)) {
        return -1;
    }
    Waiter *waiter = one_who_waits(self, message);
    if (waiter == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *popped = CALL(((Desk *)self->inbox)->waiters, str_popleft), *told = NULL;
    if (popped != NULL && account(self, message, now) == 0) {
        Py_INCREF((PyObject *)message);
        waiter->result = (PyObject *)message;
        waiter->state = DONE;
        told = waiter_tell(waiter, 1);
    }
    Py_XDECREF(popped);
    Py_DECREF((PyObject *)waiter);
    Py_XDECREF(told);
    return told == NULL ? -1 : 1;
}

static PyObject *tell_unread(Arrivals *self, int error) {
    PyObject *number = PyLong_FromLong(error);
    PyObject *said = number == NULL ? NULL : TELL(self, str_unread, number);
    Py_XDECREF(number);
    return said;
}

/* Whether what is read may go its shortest way. */
static int is_quick(Arrivals *self) {
    Scratch *scratch = (Scratch *)self->scratch;
    return self->quick && IS_A(self->scratch, scratch_type) && IS_A(self->inbox, desk_type)
        && IS_A(self->progress, seen_type) && IS_A(self->tally, tally_type)
        && scratch->at == scratch->end;
}

/* In a stream of bytes: one message, that is all there is. */
static PyObject *take_bytes(Arrivals *self, Scratch *scratch, PyObject *received, int *handed) {
    PyObject *message = scratch_next(scratch, received), *said = NULL;
    if (message == NULL) {
        return NULL;
    }
    if (message == Py_None) {
        said = CALL(self, str_arrived);
    } else {
        *handed = scratch->at == scratch->end ? hand_over(self, (Fields *)message) : 0;
        if (!*handed) {
            said = PyObject_CallMethodObjArgs(
                (PyObject *)self, str_take_all, message, received, NULL);
        }
    }
    Py_DECREF(message);
    return said;
}

/* A record that says where an array lies, if there is nothing more to it: NULL: there is, or an error. */
static PyObject *take_slot(Arrivals *self, Scratch *scratch, PyObject *received, int *handed) {
    PyObject *message = shown_message(self->incoming, scratch, received);
    if (message == NULL || message == Py_None) {
        Py_XDECREF(message);
        return NULL;
    }
    PyObject *seq = ((Fields *)message)->field[SEQ], *said = NULL;
    Py_INCREF(seq);
    scratch->at = scratch->end = 0;
    *handed = hand_over(self, (Fields *)message);
    if (*handed >= 0) {
        said = *handed ? TELL(self, str_slot_taken, seq) : TELL(self, str_come, message);
    }
    Py_DECREF(seq);
    Py_DECREF(message);
    return said;
}

/* A record: one message, that is all of it. Any other lies at the start of the memory. */
static PyObject *take_record(Arrivals *self, Scratch *scratch, PyObject *received, int *handed) {
    const char *record = (const char *)scratch->view.buf;
    Py_ssize_t size = scratch->end;
    PyObject *message = NULL, *said = NULL;
    if (size == RECORD_BYTES && record_is_slot(record, PyBytes_AsString(self->before))) {
        said = take_slot(self, scratch, received, handed);
        if (said != NULL || PyErr_Occurred()) {
            return said;
        }
    }
    if (size > RECORD_BYTES && size < scratch->view.len
        && !memcmp(record, PyBytes_AsString(self->before), RECORD_KIND_BYTES)
        && record_says(record) == (uint64_t)(size - RECORD_BYTES)) {
        scratch->at = RECORD_BYTES;
        message = scratch_next(scratch, received);
        if (message == NULL) {
            return NULL;
        }
        *handed = message != Py_None && scratch->at == size ? hand_over(self, (Fields *)message) : 0;
        Py_DECREF(message);
    }
    if (!*handed) {
        PyObject *number = PyLong_FromSsize_t(size);
        scratch->at = scratch->end = 0;
        said = number == NULL ? NULL : TELL(self, str_record, number);
        Py_XDECREF(number);
    }
    return said;
}

/* Read once, and hand over what came: 1: it was one message, and somebody had waited for it. */
static PyObject *read_once(Arrivals *self, int *handed, int *nothing) {
    Scratch *scratch = (Scratch *)self->scratch;
    Py_ssize_t count = scratch_receive(scratch, self->link.fd);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        *nothing = 1;
        Py_RETURN_NONE;
    }
    if (count <= 0) {
        return tell_unread(self, count ? errno : 0);
    }
    double now;
    if (now_of(self->clock, &now)) {
        return NULL;
    }
    PyObject *received = PyFloat_FromDouble(now);
    if (received == NULL) {
        return NULL;
    }
    Py_INCREF((PyObject *)scratch);
    PyObject *said = IS_SET(self->before) && PyBytes_Check(self->before)
            && PyBytes_Size(self->before) == RECORD_BYTES
        ? take_record(self, scratch, received, handed)
        : take_bytes(self, scratch, received, handed);
    Py_DECREF((PyObject *)scratch);
    Py_DECREF(received);
    if (*handed > 0 && said == NULL && !PyErr_Occurred()) {
        Py_INCREF(Py_None);
        said = Py_None;
    }
    return said;
}

/* How long the loop would wait, in ms; -1: for ever; 0: it has something to do. */
static int idle_ms(PyObject *loop) {
    PyObject *ready = PyObject_GetAttr(loop, str_ready), *stopping = PyObject_GetAttr(loop, str_stopping);
    PyObject *timers = PyObject_GetAttr(loop, str_scheduled);
    Py_ssize_t count = 0;
    double when = 0.0;
    int busy = ready == NULL || timers == NULL || stopping != Py_False || PyObject_Size(ready) != 0
        || (count = PyObject_Size(timers)) < 0;
    if (!busy && count) { /* the earliest is the first */
        PyObject *first = PySequence_GetItem(timers, 0);
        PyObject *moment = first == NULL ? NULL : PyObject_GetAttr(first, str_when);
        when = moment == NULL ? 0.0 : PyFloat_AsDouble(moment);
        Py_XDECREF(first);
        Py_XDECREF(moment);
    }
    Py_XDECREF(ready);
    Py_XDECREF(timers);
    Py_XDECREF(stopping);
    if (busy || PyErr_Occurred()) {
        PyErr_Clear(); /* the loop shall see to it */
        return 0;
    }
    if (!count) {
        return -1;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double left = (when - (double)now.tv_sec - (double)now.tv_nsec * 1e-9) * 1e3;
    return left < 1.0 ? 0 : left < 1e6 ? (int)left : 1000000;
}

/* Wait as the loop would, had it nothing else to do: 1: there is more for us to read; 0: whatever
 * else there is is the loop's, which sees it again; -1: a signal's handler has raised. It saves the loop's own way around,
 * in Python, for each message of those that are asked and answered one by one. */
static int stay(Arrivals *self) {
#ifdef __linux__
    struct epoll_event events[2];
    PyObject *loop = ((Desk *)self->inbox)->loop;
    int fd = self->link.fd, epoll = self->epoll, count = 0;
    if (epoll < 0 || !IS_SET(loop)) {
        return 0;
    }
    if (PyErr_CheckSignals()) {
        return -1;
    }
    int timeout = idle_ms(loop);
    if (timeout) {
        PyThreadState *state = PyEval_SaveThread();
        count = epoll_wait(epoll, events, 2, timeout);
        PyEval_RestoreThread(state);
    }
    return count == 1 && events[0].data.fd == fd && events[0].events == EPOLLIN && is_quick(self)
        && self->link.fd == fd;
#else
    (void)self;
    return 0;
#endif
}

/* The socket says that there is something to read. Of records, which come one at a time, it reads
 * many where many come; a read that finds nothing costs as much as a record, so after one such it
 * reads one at a time for a while. */
static PyObject *Arrivals_readable(Arrivals *self, PyObject *Py_UNUSED(none)) {
    if (!is_quick(self)) {
        return CALL(self, str_readable);
    }
    PyObject *said = NULL;
    int handed, nothing, more = 1;
    for (int stays = 0, count = 0; more; count++) {
        Py_XDECREF(said);
        handed = nothing = more = 0;
        said = read_once(self, &handed, &nothing);
        if (said == NULL || !is_quick(self)) {
            break;
        }
        if (nothing && count) {
            self->skip = MOST_SKIPPED;
        } else if (handed > 0 && IS_SET(self->before)) {
            more = (count || !self->skip) && count < MOST_AT_ONCE;
            self->skip -= !more && self->skip > 0;
        }
        if (!more && (handed > 0 || (nothing && count)) && stays++ < MOST_STAYS) {
            more = stay(self);
            count = -1;
            if (more < 0) {
                Py_CLEAR(said);
                break;
            }
        }
    }
    return said;
}

/* Whether this connection carries its stream, and its stream is of the same life of its sender. */
static int carries(Arrivals *self) {
    PyObject *live = self->edge == NULL ? NULL : PyObject_GetAttr(self->edge, str_live);
    PyObject *progress = live == NULL ? NULL : PyObject_GetAttr(self->edge, str_progress);
    int so = live == (PyObject *)self && progress == self->progress;
    Py_XDECREF(live);
    Py_XDECREF(progress);
    return so;
}

/* done(message): 1: nothing has to be said yet; 0: ask Python; -1: an error. */
static int done_quickly(Arrivals *self, Fields *message) {
    PyObject **field = message->field;
    if (!IS_A(self->progress, seen_type) || self->ended || field[EXACTLY_ONCE] != Py_False
        || field[SEQ] == NULL || field[SIZE] == NULL || field[URGENT] != Py_False
        || !(self->quick || carries(self))) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (self->acks) {
        Py_ssize_t size = PyLong_AsSsize_t(field[SIZE]);
        if (!IS_SET(self->timer) || self->unsaid + 1 >= self->most_unsaid
            || self->unsaid_bytes + size >= self->most_unsaid_bytes) {
            return PyErr_Occurred() ? -1 : 0;
        }
        int done = seen_done((Seen *)self->progress, field[SEQ]);
        if (done > 0) {
            self->unsaid++;
            self->unsaid_bytes += size;
        }
        return done;
    }
    return seen_done((Seen *)self->progress, field[SEQ]);
}

static PyObject *Arrivals_done(Arrivals *self, PyObject *message) {
    int done = PyObject_TypeCheck(message, fields_type) ? done_quickly(self, (Fields *)message) : 0;
    if (!done) {
        return TELL(self, str_done, message);
    }
    if (done < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef arrivals_methods[] = {
    {"readable", (PyCFunction)Arrivals_readable, METH_NOARGS, "There is something to read."},
    {"done", (PyCFunction)Arrivals_done, METH_O, "The module is done with a message."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef arrivals_members[] = {
    {"_scratch", T_OBJECT_EX, offsetof(Arrivals, scratch), 0, NULL},
    {"_inbox", T_OBJECT_EX, offsetof(Arrivals, inbox), 0, NULL},
    {"_edge", T_OBJECT_EX, offsetof(Arrivals, edge), 0, NULL},
    {"_progress", T_OBJECT_EX, offsetof(Arrivals, progress), 0, NULL},
    {"_tally", T_OBJECT_EX, offsetof(Arrivals, tally), 0, NULL},
    {"_clock", T_OBJECT_EX, offsetof(Arrivals, clock), 0, NULL},
    {"_ack_timer", T_OBJECT_EX, offsetof(Arrivals, timer), 0, NULL},
    {"_before", T_OBJECT_EX, offsetof(Arrivals, before), 0, NULL},
    {"_incoming", T_OBJECT_EX, offsetof(Arrivals, incoming), 0, NULL},
    {"_epoll", T_INT, offsetof(Arrivals, epoll), 0, NULL},
    {"_unsaid", T_PYSSIZET, offsetof(Arrivals, unsaid), 0, NULL},
    {"_unsaid_bytes", T_PYSSIZET, offsetof(Arrivals, unsaid_bytes), 0, NULL},
    {"_most_unsaid", T_PYSSIZET, offsetof(Arrivals, most_unsaid), 0, NULL},
    {"_most_unsaid_bytes", T_PYSSIZET, offsetof(Arrivals, most_unsaid_bytes), 0, NULL},
    {"_quick", T_BOOL, offsetof(Arrivals, quick), 0, NULL},
    {"_acks", T_BOOL, offsetof(Arrivals, acks), 0, NULL},
    {"_ended", T_BOOL, offsetof(Arrivals, ended), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot arrivals_slots[] = {
    {Py_tp_doc, "The receiving end of a connection."},
    {Py_tp_methods, arrivals_methods},
    {Py_tp_members, arrivals_members},
    {Py_tp_traverse, Arrivals_traverse},
    {Py_tp_clear, Arrivals_clear},
    {Py_tp_dealloc, Arrivals_dealloc},
    {0, NULL},
};
static PyType_Spec arrivals_spec = {
    "net._short.Arrivals", sizeof(Arrivals), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, arrivals_slots,
};

int add_receiving(PyObject *module) {
    static const struct {
        PyObject **where;
        const char *name;
    } names[] = {
        {&str_readable, "_readable"}, {&str_record, "_record"}, {&str_ready, "_ready"},
        {&str_stopping, "_stopping"}, {&str_scheduled, "_scheduled"}, {&str_when, "_when"}, {&str_arrived, "_arrived"}, {&str_take_all, "_take_all"},
        {&str_done, "_done"}, {&str_unread, "_unread"}, {&str_popleft, "popleft"},
        {&str_append, "append"}, {&str_slot_taken, "_slot_taken"}, {&str_come, "_come"}, {&str_live, "live"}, {&str_progress, "progress"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *names[i].where = PyUnicode_InternFromString(names[i].name);
        if (*names[i].where == NULL) {
            return 1;
        }
    }
    return add_seen(module) || add_shown(module)
        || add_type(module, "Arrivals", &arrivals_spec, link_type) == NULL;
}
