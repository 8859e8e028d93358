/* The way of a short message in C: what net/plain does in Python, to the letter.
 *
 *   Fields    what a message is made of: _short_fields.c
 *   Scratch   memory to receive into, and the short messages that lie in it
 *   encode    a short message as bytes
 *   Waiter    what a task waits for: _short_waiter.c
 *   Desk      an input, and the next message of it: _short_desk.c
 *   Link      a connection; Way: the whole sending of a short message: _short_sending.c
 *   Arrivals  a connection's receiving end, from the socket to the task: _short_receiving.c
 *   Seen      what a receiver has seen of a stream: _short_seen.c
 *   Shown     memory that a peer has shown us, and the arrays in it: _short_shown.c
 *   Handing   the way of arrays that lie in shared memory already: _short_arrays.c
 *   copy_in   the copying of those that don't: _short_copy.c
 *
 * Optional: without a compiler, or on another machine than it was built for, net/short.py takes
 * net/plain's. tests/unit/net/test_short.py holds both to the same. It knows the wire's layout of
 * a header (net/wire.py) and what is commonest: one short message, nothing in its way. Whatever else
 * there is it leaves to the methods of Python's that its types' subclasses have. Only the stable ABI
 * of CPython 3.11, so one build serves all later ones.
 */
#include "_short.h"

#include <errno.h>
#include <time.h>

#define MAX_REPLY_BYTES 1024
#define KNOWN_FLAGS 1
#define BYTES 1

/* What every message begins with; net/short.py says it once, from net/wire.py. */
char start[START_BYTES];
PyObject *empty, *zero, *nought, *no_tuple;
PyTypeObject *scratch_type;
unsigned heard;
static PyObject *system_clock;

/* --- Scratch -------------------------------------------------------------------------------- */

static PyObject *Scratch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *memory, *message;
    Py_ssize_t limit;
    static char *names[] = {"memory", "message", "limit_bytes", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOn", names, &memory, &message, &limit)) {
        return NULL;
    }
    if (!PyType_Check(message) || !PyType_IsSubtype((PyTypeObject *)message, fields_type)) {
        PyErr_SetString(PyExc_TypeError, "the class of messages has to be one of Fields");
        return NULL;
    }
    Scratch *self = (Scratch *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    if (PyObject_GetBuffer(memory, &self->view, PyBUF_WRITABLE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    Py_INCREF(memory);
    Py_INCREF(message);
    Py_INCREF(empty);
    Py_INCREF(empty);
    Py_INCREF(Py_None);
    self->memory = memory;
    self->type = message;
    self->source = self->stream = empty;
    self->carrier = Py_None;
    self->limit = limit;
    return (PyObject *)self;
}

static int Scratch_traverse(Scratch *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->type);
    Py_VISIT(self->carrier);
    return 0;
}

static int Scratch_clear(Scratch *self) {
    if (self->carrier != NULL) {
        PyObject *carrier = self->carrier;
        Py_INCREF(Py_None);
        self->carrier = Py_None;
        Py_DECREF(carrier);
    }
    return 0;
}

/* preset(source, stream, carrier): what each message gets from now on. */
static PyObject *Scratch_preset(Scratch *self, PyObject *args) {
    PyObject *source, *stream, *carrier, *old[3] = {self->source, self->stream, self->carrier};
    if (!PyArg_ParseTuple(args, "OOO", &source, &stream, &carrier)) {
        return NULL;
    }
    Py_INCREF(source);
    Py_INCREF(stream);
    Py_INCREF(carrier);
    self->source = source;
    self->stream = stream;
    self->carrier = carrier;
    for (int i = 0; i < 3; i++) {
        Py_DECREF(old[i]);
    }
    Py_RETURN_NONE;
}

static void Scratch_dealloc(Scratch *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    if (self->memory != NULL) {
        PyBuffer_Release(&self->view);
    }
    Py_XDECREF(self->memory);
    Py_XDECREF(self->type);
    Py_XDECREF(self->source);
    Py_XDECREF(self->stream);
    Py_XDECREF(self->carrier);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Not without the lock: the descriptor never blocks, and to get the lock back may take long. */
Py_ssize_t scratch_receive(Scratch *self, int fd) {
    if (self->at == self->end) {
        self->at = self->end = 0;
    }
    if (self->at < 0 || self->end < self->at || self->end > self->view.len) {
        errno = EFAULT;
        return -1;
    }
    Py_ssize_t count = recv(fd, (char *)self->view.buf + self->end,
                            (size_t)(self->view.len - self->end), MSG_DONTWAIT);
    if (count > 0) {
        self->end += count;
        heard++;
    }
    return count;
}

static PyObject *Scratch_receive(Scratch *self, PyObject *fd) {
    long number = PyLong_AsLong(fd);
    if (number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t count = scratch_receive(self, (int)number);
    if (count < 0 && errno == EFAULT) {
        PyErr_SetString(PyExc_ValueError, "at and end lie outside of the memory");
        return NULL;
    }
    return count < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(count);
}

/* All the checks that net/plain has, so that whatever is odd goes the long way. */
PyObject *scratch_next(Scratch *self, PyObject *received) {
    Py_ssize_t have = self->end - self->at;
    if (self->at < 0 || have < HEADER_BYTES || self->end > self->view.len) {
        Py_RETURN_NONE;
    }
    const char *head = (const char *)self->view.buf + self->at;
    uint64_t body = get64(head + AT_BODY);
    uint64_t seq = get64(head + AT_SEQ);
    uint16_t reply = get16(head + AT_REPLY);
    unsigned char flags = (unsigned char)head[AT_FLAGS];
    double made = get_double(head + AT_MADE), queued = get_double(head + AT_QUEUED);
    double sent = get_double(head + AT_SENT), expires = get_double(head + AT_EXPIRES);
    if (memcmp(head, start, sizeof start) || head[AT_FORM] != BYTES || get32(head + AT_METADATA)
        || reply > MAX_REPLY_BYTES || flags & ~KNOWN_FLAGS || !seq
        || body > (uint64_t)have || HEADER_BYTES + reply + (Py_ssize_t)body > have
        || HEADER_BYTES + reply + (Py_ssize_t)body > self->limit
        || !has_times(head)) {
        Py_RETURN_NONE;
    }
    PyObject *reply_to = Py_None;
    Py_INCREF(reply_to);
    if (reply) {
        Py_DECREF(reply_to);
        reply_to = PyUnicode_DecodeUTF8(head + HEADER_BYTES, reply, NULL);
        if (reply_to == NULL) {
            PyErr_Clear();
            Py_RETURN_NONE;
        }
    }
    Fields *message = fields_new((PyTypeObject *)self->type, self->source, self->stream,
                                 received, self->carrier);
    if (message == NULL) {
        Py_DECREF(reply_to);
        return NULL;
    }
    Py_ssize_t size = HEADER_BYTES + reply + (Py_ssize_t)body;
    PyObject **field = message->field;
    field[REPLY_TO] = reply_to;
    field[VALUE] = PyBytes_FromStringAndSize(head + HEADER_BYTES + reply, (Py_ssize_t)body);
    field[SEQ] = PyLong_FromUnsignedLongLong(seq);
    field[RUN] = PyLong_FromUnsignedLongLong(get64(head + AT_RUN));
    field[NUMBER] = PyLong_FromUnsignedLongLong(get64(head + AT_NUMBER));
    field[MADE] = PyFloat_FromDouble(made);
    field[QUEUED] = PyFloat_FromDouble(queued);
    field[SENT] = PyFloat_FromDouble(sent);
    field[EXPIRES] = PyFloat_FromDouble(expires);
    field[SIZE] = PyLong_FromSsize_t(size);
    field[URGENT] = PyBool_FromLong(flags);
    for (int i = 0; i <= URGENT; i++) {
        if (field[i] == NULL) {
            Py_DECREF(message);
            return NULL;
        }
    }
    self->at += size;
    return (PyObject *)message;
}

static Py_ssize_t Scratch_length(Scratch *self) {
    return self->end - self->at;
}

static PyMethodDef scratch_methods[] = {
    {"receive", (PyCFunction)Scratch_receive, METH_O, "Receive what fits, from a descriptor."},
    {"next", (PyCFunction)scratch_next, METH_O, "The short message that comes next, or None."},
    {"preset", (PyCFunction)Scratch_preset, METH_VARARGS, "What each message gets."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef scratch_members[] = {
    {"memory", T_OBJECT_EX, offsetof(Scratch, memory), READONLY, NULL},
    {"at", T_PYSSIZET, offsetof(Scratch, at), 0, NULL},
    {"end", T_PYSSIZET, offsetof(Scratch, end), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot scratch_slots[] = {
    {Py_tp_doc, "Memory to receive into."},
    {Py_tp_new, Scratch_new},
    {Py_tp_methods, scratch_methods},
    {Py_tp_members, scratch_members},
    {Py_tp_traverse, Scratch_traverse},
    {Py_tp_clear, Scratch_clear},
    {Py_tp_dealloc, Scratch_dealloc},
    {Py_sq_length, Scratch_length},
    {0, NULL},
};
static PyType_Spec scratch_spec = {
    "net._short.Scratch", sizeof(Scratch), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, scratch_slots,
};

/* --- encode --------------------------------------------------------------------------------- */

uint64_t record_says(const char *record) {
    return get64(record + RECORD_KIND_BYTES);
}

PyObject *parts_joined(const Parts *parts, int form, int flags) {
    if (parts->metadata_bytes > UINT32_MAX || parts->reply_bytes > MAX_REPLY_BYTES) {
        PyErr_SetString(PyExc_ValueError, "that is no short message");
        return NULL;
    }
    PyObject *data = PyBytes_FromStringAndSize(
        NULL, parts->before_bytes + HEADER_BYTES + parts->reply_bytes + parts->metadata_bytes
                  + parts->body_bytes);
    if (data == NULL) {
        return NULL;
    }
    char *at = PyBytes_AsString(data);
    if (parts->before_bytes == RECORD_BYTES) {
        memcpy(at, parts->before, RECORD_BYTES);
        put64(at + RECORD_KIND_BYTES, (uint64_t)(PyBytes_Size(data) - RECORD_BYTES));
        at += RECORD_BYTES;
    }
    uint32_t words = __builtin_bswap32((uint32_t)parts->metadata_bytes);
    uint16_t letters = __builtin_bswap16((uint16_t)parts->reply_bytes);
    memset(at, 0, HEADER_BYTES);
    memcpy(at, start, sizeof start);
    at[AT_FORM] = (char)form;
    at[AT_FLAGS] = (char)flags;
    memcpy(at + AT_METADATA, &words, 4);
    put64(at + AT_BODY, (uint64_t)parts->body_bytes);
    memcpy(at + AT_REPLY, &letters, 2);
    for (int i = 0; i < 3; i++) {
        put64(at + AT_SEQ + 8 * i, parts->number[i]);
    }
    for (int i = 0; i < 4; i++) {
        put_double(at + AT_MADE + 8 * i, parts->time[i]);
    }
    at += HEADER_BYTES;
    if (parts->reply_bytes) {
        memcpy(at, parts->reply, (size_t)parts->reply_bytes);
    }
    at += parts->reply_bytes;
    if (parts->metadata_bytes) {
        memcpy(at, parts->metadata, (size_t)parts->metadata_bytes);
    }
    memcpy(at + parts->metadata_bytes, parts->body, (size_t)parts->body_bytes);
    return data;
}

/* encode(form, flags, metadata, body, reply_to, seq, run, number, made, queued, sent, expires) */
static PyObject *encode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Parts parts = {NULL};
    if (count != 12) {
        PyErr_SetString(PyExc_TypeError, "encode takes 12 arguments");
        return NULL;
    }
    long form = PyLong_AsLong(args[0]), flags = PyLong_AsLong(args[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (form & ~0xffL || flags & ~0xffL) {
        PyErr_SetString(PyExc_OverflowError, "form and flags are a byte each");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[2], (char **)&parts.metadata, &parts.metadata_bytes) < 0
        || PyBytes_AsStringAndSize(args[3], (char **)&parts.body, &parts.body_bytes) < 0) {
        return NULL;
    }
    if (args[4] != Py_None) {
        parts.reply = PyUnicode_AsUTF8AndSize(args[4], &parts.reply_bytes);
        if (parts.reply == NULL) {
            return NULL;
        }
    }
    for (int i = 0; i < 3; i++) {
        parts.number[i] = PyLong_AsUnsignedLongLong(args[5 + i]);
    }
    for (int i = 0; i < 4; i++) {
        parts.time[i] = PyFloat_AsDouble(args[8 + i]);
    }
    return PyErr_Occurred() ? NULL : parts_joined(&parts, (int)form, (int)flags);
}

/* --- digits: snprintf takes a thousand instructions ------------------------------------------ */

Py_ssize_t digits_of(char *to, unsigned long long number, unsigned base, int least) {
    char back[24];
    int size = 0;
    do {
        back[size++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number || size < least);
    for (int i = 0; i < size; i++) {
        to[i] = back[size - 1 - i];
    }
    return size;
}

/* --- the clock ------------------------------------------------------------------------------ */

int now_of(PyObject *clock, double *now) {
    if (clock == system_clock) {
        struct timespec time;
        clock_gettime(CLOCK_REALTIME, &time);
        *now = (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
        return 0;
    }
    PyObject *said = clock == NULL ? NULL : PyObject_CallNoArgs(clock);
    if (said == NULL) {
        if (clock == NULL) {
            PyErr_SetString(PyExc_AttributeError, "_clock");
        }
        return -1;
    }
    *now = PyFloat_AsDouble(said);
    Py_DECREF(said);
    return *now == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* --- the module ----------------------------------------------------------------------------- */

PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject *base) {
    PyObject *type = PyType_FromSpecWithBases(spec, (PyObject *)base);
    int failed = type == NULL || PyModule_AddObjectRef(module, name, type) < 0;
    Py_XDECREF(type);
    return failed ? NULL : (PyTypeObject *)type;
}

static int add_scratch(PyObject *module) {
    PyObject *time = PyImport_ImportModule("time");
    if (time != NULL) {
        system_clock = PyObject_GetAttrString(time, "time");
        Py_DECREF(time);
    }
    scratch_type = system_clock == NULL ? NULL : add_type(module, "Scratch", &scratch_spec, NULL);
    return scratch_type == NULL;
}

/* begin(first bytes of a message): once, before anything else. */
static PyObject *begin(PyObject *Py_UNUSED(module), PyObject *bytes) {
    char *given;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(bytes, &given, &size) < 0) {
        return NULL;
    }
    if (size != sizeof start) {
        PyErr_SetString(PyExc_ValueError, "a message begins with six bytes");
        return NULL;
    }
    memcpy(start, given, sizeof start);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"begin", begin, METH_O, "What every message begins with."},
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL, "A short message as bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "net._short", "The way of a short message, in C.", -1, functions,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__short(void) {
    PyObject *module = PyModule_Create(&definition);
    empty = PyUnicode_InternFromString("");
    zero = PyLong_FromLong(0);
    nought = PyFloat_FromDouble(0.0);
    no_tuple = PyTuple_New(0);
    if (module == NULL || empty == NULL || zero == NULL || nought == NULL || no_tuple == NULL
        || add_fields(module) || add_scratch(module) || add_waiter(module) || add_desk(module)
        || add_sending(module) || add_arrays(module) || add_copying(module)
        || add_receiving(module)) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
