/* The whole sending of a short message: its number, its times, its bytes, into the kernel.
 *
 *   Tally  counts of one end: net.stats.EdgeStats
 *   Link   a connection: net.tcp.connection.Connection
 *   Debts  what the receiver hasn't acknowledged: net.delivery.Outstanding
 *   Way    the way of a message that leaves, of net.tcp.sender.Sender
 *
 * net/plain has the same in Python.
 */
#include "_short.h"

#include <errno.h>

#define SURE_REPLY 256 /* an id of so many characters is short enough, whatever they are */

static PyObject *str_append, *str_unsent, *str_join, *str_add_up;
PyTypeObject *link_type, *tally_type, *way_type;

/* --- Tally ---------------------------------------------------------------------------------- */

static int Tally_traverse(Tally *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->times);
    return 0;
}

static int Tally_clear(Tally *self) {
    Py_CLEAR(self->times);
    return 0;
}

static void Tally_dealloc(Tally *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Tally_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static const int moments[] = {MADE, QUEUED, SENT, RECEIVED, TAKEN};
enum { MOMENTS = sizeof moments / sizeof *moments };

int tally_adds_up(Tally *self) {
    PyObject *times = self->times;
    return times == NULL || !PyList_Check(times) || PyList_Size(times) + MOMENTS >= self->together;
}

int tally_took(Tally *self, Fields *message) {
    PyObject **field = message->field, *times = self->times;
    Py_ssize_t size = field[SIZE] == NULL ? -1 : PyLong_AsSsize_t(field[SIZE]);
    if (size < 0 || times == NULL || !PyList_Check(times)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "times");
        }
        return -1;
    }
    for (int i = 0; i < MOMENTS; i++) {
        PyObject *moment = field[moments[i]];
        if (moment == NULL || PyList_Append(times, moment) < 0) {
            if (moment == NULL) {
                PyErr_SetString(PyExc_AttributeError, "taken");
            }
            return -1;
        }
    }
    self->messages++;
    self->nbytes += size;
    if (PyList_Size(times) >= self->together) {
        PyObject *said = CALL(self, str_add_up);
        Py_XDECREF(said);
        return said == NULL ? -1 : 0;
    }
    return 0;
}

static PyObject *Tally_took(Tally *self, PyObject *message) {
    if (!PyObject_TypeCheck(message, fields_type)) {
        PyErr_SetString(PyExc_TypeError, "that is no message");
        return NULL;
    }
    if (tally_took(self, (Fields *)message)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef tally_methods[] = {
    {"took", (PyCFunction)Tally_took, METH_O, "The module took a message."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef tally_members[] = {
    {"messages", T_LONGLONG, offsetof(Tally, messages), 0, NULL},
    {"nbytes", T_LONGLONG, offsetof(Tally, nbytes), 0, NULL},
    {"times", T_OBJECT_EX, offsetof(Tally, times), 0, NULL},
    {"together", T_PYSSIZET, offsetof(Tally, together), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot tally_slots[] = {
    {Py_tp_doc, "Counts of one end of one stream."},
    {Py_tp_methods, tally_methods},
    {Py_tp_members, tally_members},
    {Py_tp_traverse, Tally_traverse},
    {Py_tp_clear, Tally_clear},
    {Py_tp_dealloc, Tally_dealloc},
    {0, NULL},
};
static PyType_Spec tally_spec = {
    "net._short.Tally", sizeof(Tally), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, tally_slots,
};

/* --- Link ----------------------------------------------------------------------------------- */

static int Link_traverse(Link *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    return 0;
}

static void Link_dealloc(Link *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef link_members[] = {
    {"_fd", T_INT, offsetof(Link, fd), 0, NULL},
    {"free", T_BOOL, offsetof(Link, free), 0, NULL},
    {"joined", T_BOOL, offsetof(Link, joined), 0, NULL},
    {"heard", T_UINT, offsetof(Link, heard), 0, NULL},
    {"last", T_DOUBLE, offsetof(Link, last), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot link_slots[] = {
    {Py_tp_doc, "A connection, as whoever writes on it sees it."},
    {Py_tp_members, link_members},
    {Py_tp_traverse, Link_traverse},
    {Py_tp_dealloc, Link_dealloc},
    {0, NULL},
};
static PyType_Spec link_spec = {
    "net._short.Link", sizeof(Link), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, link_slots,
};

/* --- Debts ---------------------------------------------------------------------------------- */

static PyTypeObject *debts_type;

static int Debts_traverse(Debts *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->written);
    return 0;
}

static int Debts_clear(Debts *self) {
    Py_CLEAR(self->written);
    return 0;
}

static void Debts_dealloc(Debts *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Debts_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* It was written, and is kept until it is acknowledged. */
static int debts_wrote(Debts *self, uint64_t seq, PyObject *data) {
    Py_ssize_t size = PyBytes_Size(data);
    PyObject *number = PyLong_FromUnsignedLongLong(seq), *nbytes = PyLong_FromSsize_t(size);
    PyObject *entry = self->written == NULL || number == NULL || nbytes == NULL
        ? NULL : PyTuple_Pack(4, number, nbytes, Py_None, data);
    Py_XDECREF(number);
    Py_XDECREF(nbytes);
    PyObject *said = entry == NULL ? NULL : TELL(self->written, str_append, entry);
    Py_XDECREF(entry);
    if (said == NULL) {
        return -1;
    }
    Py_DECREF(said);
    self->nbytes += size;
    if (self->nbytes >= self->most_bytes || PyObject_Size(self->written) >= self->most_messages) {
        self->full = 1;
    }
    return 0;
}

static PyMemberDef debts_members[] = {
    {"written", T_OBJECT_EX, offsetof(Debts, written), 0, NULL},
    {"nbytes", T_PYSSIZET, offsetof(Debts, nbytes), 0, NULL},
    {"most_bytes", T_PYSSIZET, offsetof(Debts, most_bytes), 0, NULL},
    {"most_messages", T_PYSSIZET, offsetof(Debts, most_messages), 0, NULL},
    {"full", T_BOOL, offsetof(Debts, full), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot debts_slots[] = {
    {Py_tp_doc, "What the receiver hasn't acknowledged."},
    {Py_tp_members, debts_members},
    {Py_tp_traverse, Debts_traverse},
    {Py_tp_clear, Debts_clear},
    {Py_tp_dealloc, Debts_dealloc},
    {0, NULL},
};
static PyType_Spec debts_spec = {
    "net._short.Debts", sizeof(Debts), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, debts_slots,
};

/* --- Way ------------------------------------------------------------------------------------ */

static PyObject *Way_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "run", "numbers", "clock", "debts", "tally", "kept", "close_s", "before", NULL};
    PyObject *name, *numbers, *clock, *debts, *tally, *before;
    unsigned long long run;
    int kept;
    double close_s;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UKOOO!O!pdS", names, &name, &run, &numbers, &clock,
                                     debts_type, &debts, tally_type, &tally, &kept, &close_s,
                                     &before)) {
        return NULL;
    }
    if (PyBytes_Size(before) != 0 && PyBytes_Size(before) != RECORD_BYTES) {
        PyErr_SetString(PyExc_ValueError, "before a message goes nothing, or a record's head");
        return NULL;
    }
    if (!PyIter_Check(numbers)) {
        PyErr_SetString(PyExc_TypeError, "numbers has to be an iterator");
        return NULL;
    }
    Way *self = (Way *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    Py_INCREF(name);
    Py_INCREF(numbers);
    Py_INCREF(clock);
    Py_INCREF(debts);
    Py_INCREF(tally);
    Py_INCREF(before);
    Py_INCREF(Py_None);
    Py_INCREF(Py_None);
    self->name = name;
    self->numbers = numbers;
    self->clock = clock;
    self->debts = debts;
    self->tally = tally;
    self->before = before;
    self->burst = self->link = Py_None;
    self->run = run;
    self->kept = (char)kept;
    self->close_s = close_s;
    return (PyObject *)self;
}

static int Way_traverse(Way *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->name);
    Py_VISIT(self->numbers);
    Py_VISIT(self->clock);
    Py_VISIT(self->debts);
    Py_VISIT(self->tally);
    Py_VISIT(self->before);
    Py_VISIT(self->burst);
    Py_VISIT(self->link);
    return 0;
}

static int Way_clear(Way *self) {
    Py_CLEAR(self->name);
    Py_CLEAR(self->numbers);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->debts);
    Py_CLEAR(self->tally);
    Py_CLEAR(self->before);
    Py_CLEAR(self->burst);
    Py_CLEAR(self->link);
    return 0;
}

static void Way_dealloc(Way *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Way_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

int way_is_free(Way *self) {
    return IS_A(self->link, link_type) && ((Link *)self->link)->free && IS_SET(self->burst)
        && self->debts != NULL && !((Debts *)self->debts)->full && self->tally != NULL;
}

/* Whether nothing is in the way of a value. */
static int way_is_clear(Way *self, PyObject *value, PyObject *reply_to) {
    return way_is_free(self) && self->before != NULL
        && PyBytes_CheckExact(value) && PyBytes_Size(value) < self->most
        && (reply_to == Py_None
            || (PyUnicode_Check(reply_to) && PyUnicode_GetLength(reply_to) <= SURE_REPLY));
}

PyObject *way_unsent(Link *link, PyObject *data, Py_ssize_t sent, int error) {
    if (sent >= 0 || error == EAGAIN || error == EWOULDBLOCK || error == EINTR) {
        error = 0;
    }
    PyObject *taken = PyLong_FromSsize_t(sent < 0 ? 0 : sent), *number = PyLong_FromLong(error);
    PyObject *said = taken == NULL || number == NULL ? NULL : PyObject_CallMethodObjArgs(
        (PyObject *)link, str_unsent, data, taken, number, NULL);
    Py_XDECREF(taken);
    Py_XDECREF(number);
    return said;
}

/* Say it at once, or with what waits already, or follows the last too closely. */
static int way_post(Way *self, PyObject *data, double now) {
    Link *link = (Link *)self->link;
    PyObject *burst = self->burst, *said;
    double since = now - link->last;
    int answers = link->heard != heard;
    link->last = now;
    link->heard = heard;
    Py_INCREF((PyObject *)link); /* what is told may take them from us */
    Py_INCREF(burst);
    if (link->joined || (!answers && 0.0 <= since && since < self->close_s)) {
        said = TELL(burst, str_join, data);
    } else {
        Py_ssize_t size = PyBytes_Size(data);
        Py_ssize_t sent = send(link->fd, PyBytes_AsString(data), (size_t)size,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == size) {
            said = Py_None;
            Py_INCREF(said);
        } else {
            said = way_unsent(link, data, sent, errno);
        }
    }
    Py_DECREF((PyObject *)link);
    Py_DECREF(burst);
    Py_XDECREF(said);
    return said == NULL ? -1 : 0;
}

/* Send it: 1: done; 0: something is in the way; -1: it raised. */
static int way_go(Way *self, PyObject *value, PyObject *reply_to, Parts *parts, double now) {
    if (reply_to != Py_None) {
        parts->reply = PyUnicode_AsUTF8AndSize(reply_to, &parts->reply_bytes);
        if (parts->reply == NULL) {
            return -1;
        }
    }
    parts->before = PyBytes_AsString(self->before);
    parts->before_bytes = PyBytes_Size(self->before);
    parts->body = PyBytes_AsString(value);
    parts->body_bytes = PyBytes_Size(value);
    parts->number[0] = self->seq + 1;
    parts->time[1] = parts->time[2] = now;
    PyObject *data = parts_joined(parts, 1, 0); /* bytes, nothing particular */
    if (data == NULL) {
        return -1;
    }
    self->seq++;
    Tally *tally = (Tally *)self->tally;
    tally->messages++;
    tally->nbytes += PyBytes_Size(data) - parts->before_bytes;
    int failed = self->kept && debts_wrote((Debts *)self->debts, self->seq, data);
    failed = failed || way_post(self, data, now);
    Py_DECREF(data);
    return failed ? -1 : 1;
}

/* send(value, reply_to=None): the id, or None. */
static PyObject *Way_send(Way *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "send takes a value and what it answers");
        return NULL;
    }
    if (!way_is_clear(self, args[0], args[1])) {
        Py_RETURN_NONE;
    }
    Parts parts = {NULL};
    double now;
    if (now_of(self->clock, &now)) {
        return NULL;
    }
    PyObject *number = PyIter_Next(self->numbers);
    if (number == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetNone(PyExc_StopIteration);
        }
        return NULL;
    }
    parts.number[1] = self->run;
    parts.number[2] = PyLong_AsUnsignedLongLong(number);
    parts.time[0] = now;
    Py_DECREF(number);
    if (PyErr_Occurred() || way_go(self, args[0], args[1], &parts, now) < 0) {
        return NULL;
    }
    char digits[24];
    Py_ssize_t size = digits_of(digits, parts.number[2], 10, 1);
    PyObject *end = PyUnicode_FromStringAndSize(digits, size);
    PyObject *id = end == NULL ? NULL : PyUnicode_Concat(self->name, end);
    Py_XDECREF(end);
    return id;
}

/* at_once(value, run, number, reply_to, made): whether it was sent. */
PyObject *way_at_once(Way *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "at_once takes 5 arguments");
        return NULL;
    }
    if (!way_is_clear(self, args[0], args[3])) {
        Py_RETURN_FALSE;
    }
    Parts parts = {NULL};
    double now;
    parts.number[1] = PyLong_AsUnsignedLongLong(args[1]);
    parts.number[2] = PyLong_AsUnsignedLongLong(args[2]);
    parts.time[0] = PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred() || now_of(self->clock, &now)
        || way_go(self, args[0], args[3], &parts, now) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyMethodDef way_methods[] = {
    {"send", (PyCFunction)(void (*)(void))Way_send, METH_FASTCALL, "Send bytes; the id, or None."},
    {"at_once", (PyCFunction)(void (*)(void))way_at_once, METH_FASTCALL,
     "Send bytes that have an id; whether it was done."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef way_members[] = {
    {"burst", T_OBJECT_EX, offsetof(Way, burst), 0, NULL},
    {"link", T_OBJECT_EX, offsetof(Way, link), 0, NULL},
    {"seq", T_ULONGLONG, offsetof(Way, seq), 0, NULL},
    {"most", T_PYSSIZET, offsetof(Way, most), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot way_slots[] = {
    {Py_tp_doc, "The way of short messages that leave."},
    {Py_tp_new, Way_new},
    {Py_tp_methods, way_methods},
    {Py_tp_members, way_members},
    {Py_tp_traverse, Way_traverse},
    {Py_tp_clear, Way_clear},
    {Py_tp_dealloc, Way_dealloc},
    {0, NULL},
};
static PyType_Spec way_spec = {
    "net._short.Way", sizeof(Way), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, way_slots,
};

int add_sending(PyObject *module) {
    str_append = PyUnicode_InternFromString("append");
    str_unsent = PyUnicode_InternFromString("unsent");
    str_join = PyUnicode_InternFromString("join");
    str_add_up = PyUnicode_InternFromString("add_up");
    if (str_append == NULL || str_unsent == NULL || str_join == NULL || str_add_up == NULL) {
        return 1;
    }
    tally_type = add_type(module, "Tally", &tally_spec, NULL);
    link_type = tally_type == NULL ? NULL : add_type(module, "Link", &link_spec, NULL);
    debts_type = link_type == NULL ? NULL : add_type(module, "Debts", &debts_spec, NULL);
    way_type = debts_type == NULL ? NULL : add_type(module, "Way", &way_spec, NULL);
    return way_type == NULL;
}
