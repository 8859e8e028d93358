/* The receiving of an array that lies in shared memory: from what the record says to a view of it.
 *
 *   Shown  the memory that a peer has shown us: net.shared.incoming.Incoming
 *   Part   a part of it, to numpy: all views of an array hold it, and with it the place is given back
 *
 * Nothing that the peer says is believed: see net/shared/incoming.py, which also has the rest: what
 * isn't an array like the one before (`_like`) is looked at there. net/plain has no such way.
 */
#include "_short.h"

enum { AT_KIND = 5, SLOT = 5, FORM_ARRAY = 3, ALIGN = 64, MOST_SAID = 512 };

static PyTypeObject *part_type, *shown_type;

int record_is_slot(const char *record, const char *before) {
    return !memcmp(record, before, AT_KIND) && record[AT_KIND] == SLOT;
}

/* --- Part ----------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Py_buffer memory; /* keeps it mapped */
    char *data;
    Py_ssize_t size;
    PyObject *home, *place; /* a list of whom to tell at the end, empty once nobody wants to know */
} Part;

static void tell_gone(PyObject *home, PyObject *place) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *gone = PyList_Size(home) > 0 ? PyList_GetItem(home, 0) : NULL;
    if (gone != NULL) {
        Py_INCREF(gone);
        PyObject *said = PyObject_CallFunctionObjArgs(gone, place, NULL);
        if (said == NULL) {
            PyErr_WriteUnraisable(gone);
        }
        Py_XDECREF(said);
        Py_DECREF(gone);
    }
    PyErr_Restore(type, value, traceback);
}

static void Part_dealloc(Part *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyBuffer_Release(&self->memory);
    tell_gone(self->home, self->place);
    Py_DECREF(self->home);
    Py_DECREF(self->place);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int Part_getbuffer(Part *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, (PyObject *)self, self->data, self->size, 1, flags);
}

static PyType_Slot part_slots[] = {
    {Py_tp_doc, "A part of memory that a peer has shown us."},
    {Py_tp_dealloc, Part_dealloc},
    {Py_bf_getbuffer, Part_getbuffer},
    {0, NULL},
};
static PyType_Spec part_spec = {
    "net._short.Part", sizeof(Part), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, part_slots,
};

/* --- Shown ---------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *regions, *out, *home, *kind; /* two dicts, a list, numpy's array */
    PyObject *said, *dtype, *shape; /* how the last array was described, and what that means */
    Py_ssize_t limit, nbytes;
    char copies;
} Shown;

#define EACH(self, DO) \
    DO((self)->regions); DO((self)->out); DO((self)->home); DO((self)->kind); DO((self)->said); \
    DO((self)->dtype); DO((self)->shape)

static int Shown_traverse(Shown *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    EACH(self, Py_VISIT);
    return 0;
}

static int Shown_clear(Shown *self) {
    EACH(self, Py_CLEAR);
    return 0;
}

static void Shown_dealloc(Shown *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Shown_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static int knows(Shown *self) {
    return !self->copies && IS_SET(self->said) && PyBytes_Check(self->said) && IS_SET(self->dtype)
        && IS_SET(self->shape) && self->nbytes > 0 && self->kind != NULL
        && self->regions != NULL && PyDict_Check(self->regions)
        && self->out != NULL && PyDict_Check(self->out)
        && self->home != NULL && PyList_Check(self->home)
        && PyBytes_Size(self->said) <= MOST_SAID - HEADER_BYTES;
}

/* Whether the head, which is a copy of ours, is of an array like the last one, with nothing to it. */
static int is_alike(Shown *self, const char *head, uint64_t length) {
    uint64_t before = HEADER_BYTES + (uint64_t)PyBytes_Size(self->said);
    before += -before % ALIGN;
    return !memcmp(head, start, START_BYTES) && head[AT_FORM] == FORM_ARRAY && !head[AT_FLAGS]
        && !get16(head + AT_REPLY) && get64(head + AT_SEQ) && has_times(head)
        && get32(head + AT_METADATA) == (uint64_t)PyBytes_Size(self->said)
        && !memcmp(head + HEADER_BYTES, PyBytes_AsString(self->said), (size_t)PyBytes_Size(self->said))
        && get64(head + AT_BODY) == (uint64_t)self->nbytes && before + (uint64_t)self->nbytes == length;
}

/* A view of the body that ends at `end`; takes `memory` in any case. */
static PyObject *array_at(Shown *self, Py_buffer *memory, char *end, PyObject *place) {
    Part *part = PyObject_New(Part, part_type);
    if (part == NULL) {
        PyBuffer_Release(memory);
        PyDict_DelItem(self->out, place);
        return NULL;
    }
    part->memory = *memory;
    part->data = end - self->nbytes;
    part->size = self->nbytes;
    Py_INCREF(self->home);
    Py_INCREF(place);
    part->home = self->home;
    part->place = place;
    PyObject *array = PyObject_CallFunctionObjArgs(self->kind, self->shape, self->dtype, part, NULL);
    Py_DECREF((PyObject *)part);
    return array;
}

static PyObject *message_of(Scratch *scratch, const char *head, uint64_t length, PyObject *array,
                            PyObject *received) {
    Fields *message = fields_new((PyTypeObject *)scratch->type, scratch->source, scratch->stream,
                                 received, scratch->carrier);
    if (message == NULL) {
        Py_DECREF(array);
        return NULL;
    }
    PyObject **field = message->field;
    field[VALUE] = array;
    field[SEQ] = PyLong_FromUnsignedLongLong(get64(head + AT_SEQ));
    field[RUN] = PyLong_FromUnsignedLongLong(get64(head + AT_RUN));
    field[NUMBER] = PyLong_FromUnsignedLongLong(get64(head + AT_NUMBER));
    Py_INCREF(Py_None);
    field[REPLY_TO] = Py_None;
    field[MADE] = PyFloat_FromDouble(get_double(head + AT_MADE));
    field[QUEUED] = PyFloat_FromDouble(get_double(head + AT_QUEUED));
    field[SENT] = PyFloat_FromDouble(get_double(head + AT_SENT));
    field[EXPIRES] = PyFloat_FromDouble(get_double(head + AT_EXPIRES));
    field[SIZE] = PyLong_FromUnsignedLongLong(length);
    field[URGENT] = PyBool_FromLong(0);
    for (int i = 0; i <= URGENT; i++) {
        if (field[i] == NULL) {
            Py_DECREF((PyObject *)message);
            return NULL;
        }
    }
    return (PyObject *)message;
}

/* The array of a slot that lies in its region, if it is like the last one. Takes `memory`. */
static PyObject *taken_from(Shown *self, Py_buffer *memory, const uint64_t *says, PyObject *number,
                            Scratch *scratch, PyObject *received) {
    char head[MOST_SAID], *at = (char *)memory->buf + says[1];
    uint64_t length = says[2];
    memcpy(head, at, HEADER_BYTES + (size_t)PyBytes_Size(self->said));
    PyObject *offset = is_alike(self, head, length) ? PyLong_FromUnsignedLongLong(says[1]) : NULL;
    PyObject *place = offset == NULL ? NULL : PyTuple_Pack(2, number, offset);
    PyObject *size = place == NULL ? NULL : PyLong_FromUnsignedLongLong(length);
    PyObject *array = NULL;
    Py_XDECREF(offset);
    if (size == NULL || PyDict_Contains(self->out, place) != 0
        || PyDict_SetItem(self->out, place, size) < 0) {
        PyBuffer_Release(memory);
    } else {
        array = array_at(self, memory, at + length, place);
    }
    Py_XDECREF(place);
    Py_XDECREF(size);
    return array == NULL ? NULL : message_of(scratch, head, length, array, received);
}

PyObject *shown_message(PyObject *shown, Scratch *scratch, PyObject *received) {
    Shown *self = (Shown *)shown;
    Py_buffer memory;
    if (!IS_A(shown, shown_type) || !knows(self)) {
        Py_RETURN_NONE;
    }
    const char *record = (const char *)scratch->view.buf;
    uint64_t says[3]; /* region, offset, length */
    for (int i = 0; i < 3; i++) {
        says[i] = get64(record + RECORD_KIND_BYTES + 8 * i);
    }
    PyObject *number = PyLong_FromUnsignedLongLong(says[0]), *message = NULL;
    PyObject *region = number == NULL ? NULL : PyDict_GetItemWithError(self->regions, number);
    if (region != NULL && PyObject_GetBuffer(region, &memory, PyBUF_SIMPLE) == 0) {
        uint64_t size = (uint64_t)memory.len, said = (uint64_t)PyBytes_Size(self->said);
        if (says[1] % ALIGN == 0 && says[1] <= size && says[2] <= size - says[1]
            && says[2] >= HEADER_BYTES + said && says[2] <= (uint64_t)self->limit) {
            message = taken_from(self, &memory, says, number, scratch, received);
        } else {
            PyBuffer_Release(&memory);
        }
    }
    Py_XDECREF(number);
    if (message == NULL && !PyErr_Occurred()) {
        Py_RETURN_NONE;
    }
    return message;
}

static PyMemberDef shown_members[] = {
    {"_regions", T_OBJECT_EX, offsetof(Shown, regions), 0, NULL},
    {"_out", T_OBJECT_EX, offsetof(Shown, out), 0, NULL},
    {"_home", T_OBJECT_EX, offsetof(Shown, home), 0, NULL},
    {"_kind", T_OBJECT_EX, offsetof(Shown, kind), 0, NULL},
    {"_said", T_OBJECT_EX, offsetof(Shown, said), 0, NULL},
    {"_dtype", T_OBJECT_EX, offsetof(Shown, dtype), 0, NULL},
    {"_shape", T_OBJECT_EX, offsetof(Shown, shape), 0, NULL},
    {"_nbytes", T_PYSSIZET, offsetof(Shown, nbytes), 0, NULL},
    {"_limit_bytes", T_PYSSIZET, offsetof(Shown, limit), 0, NULL},
    {"_copies", T_BOOL, offsetof(Shown, copies), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot shown_slots[] = {
    {Py_tp_doc, "The memory that a peer has shown us."},
    {Py_tp_members, shown_members},
    {Py_tp_traverse, Shown_traverse},
    {Py_tp_clear, Shown_clear},
    {Py_tp_dealloc, Shown_dealloc},
    {0, NULL},
};
static PyType_Spec shown_spec = {
    "net._short.Shown", sizeof(Shown), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, shown_slots,
};

int add_shown(PyObject *module) {
    part_type = add_type(module, "Part", &part_spec, NULL);
    shown_type = part_type == NULL ? NULL : add_type(module, "Shown", &shown_spec, NULL);
    return shown_type == NULL;
}
