/* Desk: an input, as whoever waits for its next message sees it. net/plain has it in Python.
 *
 * What is queued, and the end, are the subclass's, net.inbox.Inbox: `take_now`, `raise_if_ended`.
 */
#include "_short.h"

static PyObject *str_take_now, *str_done;
PyTypeObject *desk_type;

static int Desk_traverse(Desk *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->waiters);
    Py_VISIT(self->items);
    Py_VISIT(self->current);
    Py_VISIT(self->on_message);
    Py_VISIT(self->clock);
    Py_VISIT(self->loop);
    return 0;
}

static int Desk_clear(Desk *self) {
    Py_CLEAR(self->waiters);
    Py_CLEAR(self->items);
    Py_CLEAR(self->current);
    Py_CLEAR(self->on_message);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->loop);
    return 0;
}

static void Desk_dealloc(Desk *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Desk_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

PyObject *desk_take(Desk *self) {
    PyObject *current = self->current;
    if (IS_SET(current)) {
        Py_INCREF(Py_None);
        self->current = Py_None;
        PyObject *told = Py_None;
        if (PyObject_TypeCheck(current, fields_type)) {
            told = fields_done((Fields *)current) ? NULL : told;
            Py_XINCREF(told);
        } else {
            told = CALL(current, str_done);
        }
        Py_DECREF(current);
        if (told == NULL) {
            return NULL;
        }
        Py_DECREF(told);
    }
    Py_ssize_t count = self->items == NULL ? -1 : PyObject_Size(self->items);
    if (!count) {
        Py_RETURN_NONE;
    }
    return CALL(self, str_take_now);
}

/* What `next` and `__anext__` give: awaited, it is a waiter. Not a waiter itself, as asyncio takes
 * one for a future. No circle goes through it unless somebody stores it in its desk. */
typedef struct {
    PyObject_HEAD
    PyObject *desk;
    char iterates;
} Next;

static PyTypeObject *next_type;

static PyObject *next_of(Desk *self, char iterates) {
    Next *next = PyObject_New(Next, next_type);
    if (next != NULL) {
        Py_INCREF((PyObject *)self);
        next->desk = (PyObject *)self;
        next->iterates = iterates;
    }
    return (PyObject *)next;
}

static PyObject *Next_await(Next *self) {
    Waiter *waiter = (Waiter *)((allocfunc)PyType_GetSlot(waiter_type, Py_tp_alloc))(waiter_type, 0);
    if (waiter != NULL) {
        Py_INCREF(self->desk);
        waiter->desk = self->desk;
        waiter->iterates = self->iterates;
    }
    return (PyObject *)waiter;
}

static void Next_dealloc(Next *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_DECREF(self->desk);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot next_slots[] = {
    {Py_tp_doc, "The next message of a desk, to be awaited once."},
    {Py_tp_dealloc, Next_dealloc},
    {Py_am_await, Next_await},
    {0, NULL},
};
static PyType_Spec next_spec = {
    "net._short.Next", sizeof(Next), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, next_slots,
};

static PyObject *Desk_next(Desk *self, PyObject *Py_UNUSED(none)) {
    return next_of(self, 0);
}

static PyObject *Desk_anext(Desk *self) {
    return next_of(self, 1);
}

static PyObject *Desk_aiter(PyObject *self) {
    Py_INCREF(self);
    return self;
}

static PyMethodDef desk_methods[] = {
    {"next", (PyCFunction)Desk_next, METH_NOARGS,
     "To be awaited: the next message; raises what `raise_if_ended` does."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef desk_members[] = {
    {"waiters", T_OBJECT_EX, offsetof(Desk, waiters), 0, NULL},
    {"_items", T_OBJECT_EX, offsetof(Desk, items), 0, NULL},
    {"_current", T_OBJECT_EX, offsetof(Desk, current), 0, NULL},
    {"on_message", T_OBJECT_EX, offsetof(Desk, on_message), 0, NULL},
    {"_clock", T_OBJECT_EX, offsetof(Desk, clock), 0, NULL},
    {"_loop", T_OBJECT_EX, offsetof(Desk, loop), 0, NULL},
    {"by_hand", T_BOOL, offsetof(Desk, by_hand), 0, NULL},
    {"_closed", T_BOOL, offsetof(Desk, closed), 0, NULL},
    {"_ended", T_BOOL, offsetof(Desk, ended), 0, NULL},
    {"_discarding", T_BOOL, offsetof(Desk, discarding), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot desk_slots[] = {
    {Py_tp_doc, "An input, as whoever waits for its next message sees it."},
    {Py_tp_methods, desk_methods},
    {Py_tp_members, desk_members},
    {Py_tp_traverse, Desk_traverse},
    {Py_tp_clear, Desk_clear},
    {Py_tp_dealloc, Desk_dealloc},
    {Py_am_aiter, Desk_aiter},
    {Py_am_anext, Desk_anext},
    {0, NULL},
};
static PyType_Spec desk_spec = {
    "net._short.Desk", sizeof(Desk), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, desk_slots,
};

int add_desk(PyObject *module) {
    str_take_now = PyUnicode_InternFromString("take_now");
    str_done = PyUnicode_InternFromString("done");
    if (str_take_now == NULL || str_done == NULL) {
        return 1;
    }
    next_type = add_type(module, "Next", &next_spec, NULL);
    desk_type = next_type == NULL ? NULL : add_type(module, "Desk", &desk_spec, NULL);
    return desk_type == NULL;
}
