/* Seen: what a receiver has seen of a stream; net.delivery.Progress is the rest of it. */
#include "_short.h"

PyTypeObject *seen_type;

static int Seen_traverse(Seen *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->open);
    Py_VISIT(self->ahead);
    return 0;
}

static int Seen_clear(Seen *self) {
    Py_CLEAR(self->open);
    Py_CLEAR(self->ahead);
    return 0;
}

static void Seen_dealloc(Seen *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Seen_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef seen_members[] = {
    {"received", T_ULONGLONG, offsetof(Seen, received), 0, NULL},
    {"done", T_ULONGLONG, offsetof(Seen, done), 0, NULL},
    {"open", T_OBJECT_EX, offsetof(Seen, open), 0, NULL},
    {"ahead", T_OBJECT_EX, offsetof(Seen, ahead), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot seen_slots[] = {
    {Py_tp_doc, "What a receiver has seen of one stream."},
    {Py_tp_members, seen_members},
    {Py_tp_traverse, Seen_traverse},
    {Py_tp_clear, Seen_clear},
    {Py_tp_dealloc, Seen_dealloc},
    {0, NULL},
};
static PyType_Spec seen_spec = {
    "net._short.Seen", sizeof(Seen), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, seen_slots,
};

int add_seen(PyObject *module) {
    seen_type = add_type(module, "Seen", &seen_spec, NULL);
    return seen_type == NULL;
}
