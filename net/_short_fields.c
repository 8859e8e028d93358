/* Fields: what a message is made of, without a dictionary. net/plain has the same in Python. */
#include "_short.h"

#define DERIVED (1ULL << 63) /* net/ids.py */

static PyObject *str_done;

#define FIELD(name, which) {name, T_OBJECT_EX, offsetof(Fields, field) + which * sizeof(void *), 0, NULL}

static PyMemberDef fields_members[] = {
    FIELD("value", VALUE), FIELD("seq", SEQ), FIELD("run", RUN), FIELD("number", NUMBER),
    FIELD("reply_to", REPLY_TO), FIELD("made", MADE), FIELD("queued", QUEUED), FIELD("sent", SENT),
    FIELD("expires", EXPIRES), FIELD("size_bytes", SIZE), FIELD("urgent", URGENT),
    FIELD("source", SOURCE), FIELD("stream", STREAM), FIELD("received", RECEIVED),
    FIELD("taken", TAKEN), FIELD("missing", MISSING), FIELD("carrier", CARRIER),
    FIELD("recorded", RECORDED), FIELD("finished", FINISHED), FIELD("twins", TWINS),
    FIELD("exactly_once", EXACTLY_ONCE), FIELD("answers", ANSWERS), FIELD("_held", HELD),
    {NULL, 0, 0, 0, NULL},
};

Fields *fields_new(PyTypeObject *type, PyObject *source, PyObject *stream,
                          PyObject *received, PyObject *carrier) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Fields *self = (Fields *)alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    PyObject **field = self->field;
    field[SOURCE] = source;
    field[STREAM] = stream;
    field[RECEIVED] = received;
    field[CARRIER] = carrier;
    field[TAKEN] = nought;
    field[MISSING] = Py_None;
    field[RECORDED] = field[FINISHED] = field[EXACTLY_ONCE] = Py_False;
    field[TWINS] = no_tuple;
    field[ANSWERS] = field[HELD] = zero;
    for (int i = SOURCE; i < COUNT; i++) {
        Py_INCREF(field[i]);
    }
    return self;
}

static PyObject *Fields_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *given[11] = {NULL};
    static char *names[] = {"value", "seq", "run", "number", "reply_to", "made", "queued", "sent",
                            "expires", "size_bytes", "urgent", NULL};
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOOOOOOOOO|O", names, given, given + 1, given + 2, given + 3, given + 4,
            given + 5, given + 6, given + 7, given + 8, given + 9, given + 10)) {
        return NULL;
    }
    Fields *self = fields_new(type, empty, empty, nought, Py_None);
    if (self == NULL) {
        return NULL;
    }
    if (given[URGENT] == NULL) {
        given[URGENT] = Py_False;
    }
    for (int i = 0; i <= URGENT; i++) {
        Py_INCREF(given[i]);
        self->field[i] = given[i];
    }
    return (PyObject *)self;
}

static int Fields_traverse(Fields *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    for (int i = 0; i < COUNT; i++) {
        Py_VISIT(self->field[i]);
    }
    return 0;
}

static int Fields_clear(Fields *self) {
    for (int i = 0; i < COUNT; i++) {
        Py_CLEAR(self->field[i]);
    }
    return 0;
}

static void Fields_dealloc(Fields *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Fields_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Python lets a module delete any attribute: whether all of some are there, as Python would say. */
static int has(Fields *self, int first, int last) {
    for (int i = first; i <= last; i++) {
        if (self->field[i] == NULL) {
            PyErr_SetString(PyExc_AttributeError, fields_members[i].name);
            return 0;
        }
    }
    return 1;
}

int fields_done(Fields *self) {
    PyObject **field = self->field;
    if (!has(self, FINISHED, FINISHED) || !has(self, CARRIER, CARRIER) || !has(self, HELD, HELD)) {
        return -1;
    }
    if (field[FINISHED] == Py_False) {
        Py_INCREF(Py_True);
        Py_DECREF(field[FINISHED]); /* False: nothing runs at its end */
        field[FINISHED] = Py_True;
        int held = field[HELD] == zero ? 0 : PyObject_IsTrue(field[HELD]);
        if (held < 0) {
            return -1;
        }
        if (field[CARRIER] != Py_None && !held) {
            PyObject *carrier = field[CARRIER];
            Py_INCREF(carrier);
            PyObject *told = TELL(carrier, str_done, (PyObject *)self);
            Py_DECREF(carrier);
            if (told == NULL) {
                return -1;
            }
            Py_DECREF(told);
        }
    }
    return 0;
}

static PyObject *Fields_done(Fields *self, PyObject *Py_UNUSED(none)) {
    if (fields_done(self)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* As net.ids.message_id. */
static PyObject *Fields_id(Fields *self, void *Py_UNUSED(closure)) {
    PyObject **field = self->field;
    char tail[64];
    if (!has(self, RUN, NUMBER) || !has(self, SOURCE, SOURCE)) {
        return NULL;
    }
    unsigned long long run = PyLong_AsUnsignedLongLong(field[RUN]);
    unsigned long long number = PyLong_AsUnsignedLongLong(field[NUMBER]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t size = 0;
    tail[size++] = ':';
    if (run & DERIVED) {
        tail[size++] = '=';
        size += digits_of(tail + size, run, 16, 16);
        size += digits_of(tail + size, number, 16, 16);
    } else {
        size += digits_of(tail + size, run, 16, 8);
        tail[size++] = ':';
        size += digits_of(tail + size, number, 10, 1);
    }
    PyObject *end = PyUnicode_FromStringAndSize(tail, size);
    PyObject *id = end == NULL ? NULL : PyUnicode_Concat(field[SOURCE], end);
    Py_XDECREF(end);
    return id;
}

static PyGetSetDef fields_computed[] = {
    {"id", (getter)Fields_id, NULL,
     "Unique among all messages of the mesh, also of former lives of its sender.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* made, queued, sent, received, taken */
static PyObject *Fields_moments(Fields *self, PyObject *Py_UNUSED(none)) {
    PyObject **field = self->field;
    if (!has(self, MADE, SENT) || !has(self, RECEIVED, TAKEN)) {
        return NULL;
    }
    return PyTuple_Pack(5, field[MADE], field[QUEUED], field[SENT], field[RECEIVED], field[TAKEN]);
}

static PyMethodDef fields_methods[] = {
    {"moments", (PyCFunction)Fields_moments, METH_NOARGS, "made, queued, sent, received, taken"},
    {"done", (PyCFunction)Fields_done, METH_NOARGS,
     "Say that the module is done with it: from now on it isn't sent again. Idempotent.\n\n"
     "Taking the next message from the input says it, too."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot fields_slots[] = {
    {Py_tp_doc, "What a message is made of."},
    {Py_tp_new, Fields_new},
    {Py_tp_members, fields_members},
    {Py_tp_methods, fields_methods},
    {Py_tp_getset, fields_computed},
    {Py_tp_traverse, Fields_traverse},
    {Py_tp_clear, Fields_clear},
    {Py_tp_dealloc, Fields_dealloc},
    {0, NULL},
};
static PyType_Spec fields_spec = {
    "net._short.Fields", sizeof(Fields), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, fields_slots,
};

PyTypeObject *fields_type;

int add_fields(PyObject *module) {
    str_done = PyUnicode_InternFromString("done");
    fields_type = str_done == NULL ? NULL : add_type(module, "Fields", &fields_spec, NULL);
    return fields_type == NULL;
}
