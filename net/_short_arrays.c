/* The sending of arrays that lie in shared memory already: net/plain/arrays.py says what, and why.
 *
 *   Ready    an array that may be filled and sent, with all that can be said of it before
 *   Handing  tells the receiver, then Python's books
 *
 * From the lookup on, nothing runs but numpy's own until the receiver has been told.
 */
#include "_short.h"

#include <errno.h>

enum { MOST_DIMENSIONS = 32 };

typedef struct {
    PyObject_HEAD
    PyObject *dtype, *head, *record, *region, *slot; /* head and record are bytes */
    void *address;
    Py_ssize_t size, shape[MOST_DIMENSIONS];
    int dimensions;
} Ready;

static PyTypeObject *ready_type;
static PyObject *str_dtype;

/* An array's memory; not 0: it isn't contiguous, or not shown. */
static int memory_of(PyObject *array, Py_buffer *view) {
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS) < 0) {
        PyErr_Clear();
        return -1;
    }
    return 0;
}

static int not_ready(void) {
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "that isn't ready to be sent");
    }
    return -1;
}

static int ready_fill(Ready *self, PyObject *array, unsigned long long address) {
    Py_buffer view;
    if (PyBytes_Size(self->record) != RECORD_BYTES || PyBytes_Size(self->head) < HEADER_BYTES
        || memory_of(array, &view)) {
        return not_ready();
    }
    int fits = view.ndim <= MOST_DIMENSIONS && (uintptr_t)view.buf == address
        && (view.ndim == 0 || view.shape != NULL);
    for (int i = 0; fits && i < view.ndim; i++) {
        self->shape[i] = view.shape[i];
    }
    self->address = view.buf;
    self->dimensions = view.ndim;
    PyBuffer_Release(&view);
    self->dtype = fits ? PyObject_GetAttr(array, str_dtype) : NULL;
    return self->dtype == NULL ? not_ready() : 0;
}

static PyObject *Ready_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"array", "address", "head", "record", "region", "slot", "size", NULL};
    PyObject *array, *head, *record, *region, *slot;
    unsigned long long address;
    Py_ssize_t size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OKSSOOn", names, &array, &address, &head, &record,
                                     &region, &slot, &size)) {
        return NULL;
    }
    Ready *self = (Ready *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    Py_INCREF(head);
    Py_INCREF(record);
    Py_INCREF(region);
    Py_INCREF(slot);
    self->head = head;
    self->record = record;
    self->region = region;
    self->slot = slot;
    self->size = size;
    if (ready_fill(self, array, address)) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static int Ready_traverse(Ready *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->dtype);
    Py_VISIT(self->region);
    Py_VISIT(self->slot);
    return 0;
}

static int Ready_clear(Ready *self) {
    Py_CLEAR(self->slot);
    return 0;
}

static void Ready_dealloc(Ready *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->dtype);
    Py_XDECREF(self->head);
    Py_XDECREF(self->record);
    Py_XDECREF(self->region);
    Py_XDECREF(self->slot);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef ready_members[] = {
    {"region", T_OBJECT_EX, offsetof(Ready, region), READONLY, NULL},
    {"slot", T_OBJECT_EX, offsetof(Ready, slot), READONLY, NULL},
    {"size", T_PYSSIZET, offsetof(Ready, size), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot ready_slots[] = {
    {Py_tp_doc, "An array that may be filled and sent."},
    {Py_tp_new, Ready_new},
    {Py_tp_members, ready_members},
    {Py_tp_traverse, Ready_traverse},
    {Py_tp_clear, Ready_clear},
    {Py_tp_dealloc, Ready_dealloc},
    {0, NULL},
};
static PyType_Spec ready_spec = {
    "net._short.Ready", sizeof(Ready), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, ready_slots,
};

/* --- Handing -------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *way, *ready, *known, *forgotten, *kind, *handed;
    unsigned long long longest;
} Handing;

static PyObject *Handing_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"way", "ready", "known", "forgotten", "kind", "handed", NULL};
    PyObject *way, *ready, *known, *forgotten, *kind, *handed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!O!O!O!O", names, way_type, &way, &PyDict_Type,
                                     &ready, &PySet_Type, &known, &PyList_Type, &forgotten,
                                     &PyType_Type, &kind, &handed)) {
        return NULL;
    }
    Handing *self = (Handing *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    Py_INCREF(way);
    Py_INCREF(ready);
    Py_INCREF(known);
    Py_INCREF(forgotten);
    Py_INCREF(kind);
    Py_INCREF(handed);
    self->way = way;
    self->ready = ready;
    self->known = known;
    self->forgotten = forgotten;
    self->kind = kind;
    self->handed = handed;
    return (PyObject *)self;
}

static int Handing_traverse(Handing *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->way);
    Py_VISIT(self->ready);
    Py_VISIT(self->known);
    Py_VISIT(self->forgotten);
    Py_VISIT(self->kind);
    Py_VISIT(self->handed);
    return 0;
}

static int Handing_clear(Handing *self) {
    Py_CLEAR(self->handed);
    return 0;
}

static void Handing_dealloc(Handing *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->way);
    Py_XDECREF(self->ready);
    Py_XDECREF(self->known);
    Py_XDECREF(self->forgotten);
    Py_XDECREF(self->kind);
    Py_XDECREF(self->handed);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Whether it is still what it was: its type, shape and place can be set by anybody. */
static int is_still(Ready *ready, PyObject *array, const Py_buffer *view) {
    if (view->ndim != ready->dimensions || view->buf != ready->address) {
        return 0;
    }
    for (int i = 0; i < view->ndim; i++) {
        if (view->shape[i] != ready->shape[i]) {
            return 0;
        }
    }
    PyObject *dtype = PyObject_GetAttr(array, str_dtype);
    Py_XDECREF(dtype); /* the array has it still */
    return dtype != NULL && dtype == ready->dtype;
}

/* What is ready of this array, and nothing in its way; NULL: there isn't, or it raised. */
static Ready *ready_of(Handing *self, PyObject *array, const Py_buffer *view) {
    PyObject *address = PyLong_FromVoidPtr(view->buf);
    PyObject *found = address == NULL ? NULL : PyDict_GetItemWithError(self->ready, address);
    Py_XDECREF(address);
    if (!IS_A(found, ready_type) || !way_is_free((Way *)self->way)) {
        return NULL;
    }
    Ready *ready = (Ready *)found;
    if (!is_still(ready, array, view) || (unsigned long long)ready->size > self->longest
        || PyList_Size(self->forgotten) != 0 || PySet_Contains(self->known, ready->region) != 1) {
        return NULL;
    }
    Py_INCREF(found);
    return ready;
}

/* Write the head before the array, and say where it lies: what the kernel said. */
static Py_ssize_t say(Ready *ready, Link *link, const uint64_t *number, const double *time) {
    Py_ssize_t size = PyBytes_Size(ready->head);
    char *head = (char *)ready->address - size;
    memcpy(head, PyBytes_AsString(ready->head), (size_t)size);
    for (int i = 0; i < 3; i++) {
        put64(head + AT_SEQ + 8 * i, number[i]);
        put_double(head + AT_MADE + 8 * i, time[i]);
    }
    return send(link->fd, PyBytes_AsString(ready->record), RECORD_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* 1: it was handed over; 0: something is in the way; -1: it raised. */
static int hand_over(Handing *self, PyObject *const *args, const Py_buffer *view, double now) {
    Way *way = (Way *)self->way;
    uint64_t number[3] = {
        way->seq + 1, PyLong_AsUnsignedLongLong(args[1]), PyLong_AsUnsignedLongLong(args[2])};
    double time[3] = {PyFloat_AsDouble(args[4]), now, now};
    Ready *ready = PyErr_Occurred() ? NULL : ready_of(self, args[0], view);
    if (ready == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Link *link = (Link *)way->link;
    Py_INCREF((PyObject *)link);
    Py_ssize_t sent = say(ready, link, number, time);
    PyObject *told = Py_None;
    Py_INCREF(told);
    way->seq++;
    ((Tally *)way->tally)->messages++;
    ((Tally *)way->tally)->nbytes += ready->size;
    if (sent != RECORD_BYTES) {
        Py_DECREF(told);
        told = way_unsent(link, ready->record, sent, errno);
    }
    PyObject *kept = told == NULL || self->handed == NULL ? NULL
        : PyObject_CallFunction(self->handed, "OKn", ready->slot, (unsigned long long)number[0], ready->size);
    Py_XDECREF(told);
    Py_XDECREF(kept);
    Py_DECREF((PyObject *)link);
    Py_DECREF((PyObject *)ready);
    return kept == NULL ? -1 : 1;
}

/* at_once(value, run, number, reply_to, made): whether it was sent. */
static PyObject *Handing_at_once(Handing *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 5 || (PyObject *)Py_TYPE(args[0]) != self->kind) {
        return way_at_once((Way *)self->way, args, count);
    }
    Py_buffer view;
    double now;
    if (PyDict_Size(self->ready) < 1 || args[3] != Py_None) {
        Py_RETURN_FALSE;
    }
    if (now_of(((Way *)self->way)->clock, &now)) { /* first: it may be in Python, and run anything */
        return NULL;
    }
    if (memory_of(args[0], &view)) {
        Py_RETURN_FALSE;
    }
    int done = hand_over(self, args, &view, now);
    PyBuffer_Release(&view);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

static PyMethodDef handing_methods[] = {
    {"at_once", (PyCFunction)(void (*)(void))Handing_at_once, METH_FASTCALL,
     "Send what has an id; whether it was done."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef handing_members[] = {
    {"longest", T_ULONGLONG, offsetof(Handing, longest), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot handing_slots[] = {
    {Py_tp_doc, "The way of values that need no copy."},
    {Py_tp_new, Handing_new},
    {Py_tp_methods, handing_methods},
    {Py_tp_members, handing_members},
    {Py_tp_traverse, Handing_traverse},
    {Py_tp_clear, Handing_clear},
    {Py_tp_dealloc, Handing_dealloc},
    {0, NULL},
};
static PyType_Spec handing_spec = {
    "net._short.Handing", sizeof(Handing), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, handing_slots,
};

int add_arrays(PyObject *module) {
    str_dtype = PyUnicode_InternFromString("dtype");
    ready_type = str_dtype == NULL ? NULL : add_type(module, "Ready", &ready_spec, NULL);
    return ready_type == NULL || add_type(module, "Handing", &handing_spec, NULL) == NULL;
}
