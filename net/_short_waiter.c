/* Waiter: what one task waits for that is to go on at once, not in the loop's next turn.
 *
 * To asyncio's tasks it is what a future is. net/plain.py has the same in Python.
 */
#include "_short.h"

static PyObject *str_run, *str_call_soon, *str_context, *cancelled_error;

enum { PENDING, DONE, CANCELLED };

typedef struct {
    PyObject_HEAD
    PyObject *loop, *callback, *context;
    char blocking, state, yielded;
} Waiter;

static PyObject *Waiter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *loop;
    static char *names[] = {"loop", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &loop)) {
        return NULL;
    }
    Waiter *self = (Waiter *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL) {
        Py_INCREF(loop);
        self->loop = loop;
    }
    return (PyObject *)self;
}

static int Waiter_traverse(Waiter *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    return 0;
}

static int Waiter_clear(Waiter *self) {
    Py_CLEAR(self->loop);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    return 0;
}

static void Waiter_dealloc(Waiter *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    Waiter_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *Waiter_self(PyObject *self) {
    Py_INCREF(self);
    return self;
}

/* Once to the task, to be waited for; the second time, it is over. */
static PyObject *Waiter_iternext(Waiter *self) {
    if (self->state != PENDING || self->yielded) {
        return NULL;
    }
    self->yielded = self->blocking = 1;
    return Waiter_self((PyObject *)self);
}

static PyObject *Waiter_add_done_callback(Waiter *self, PyObject *args, PyObject *kwargs) {
    PyObject *callback, *context = Py_None;
    static char *names[] = {"callback", "context", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O", names, &callback, &context)) {
        return NULL;
    }
    PyObject *before = self->callback, *its = self->context;
    Py_INCREF(callback);
    Py_INCREF(context);
    self->callback = callback;
    self->context = context;
    Py_XDECREF(before); /* last: its end may run anything, and call us */
    Py_XDECREF(its);
    Py_RETURN_NONE;
}

/* Tell the task: now, or in the loop's next turn. */
static PyObject *Waiter_tell(Waiter *self, int now) {
    PyObject *callback = self->callback, *context = self->context, *done;
    if (callback == NULL) {
        Py_RETURN_NONE;
    }
    self->callback = self->context = NULL;
    if (now) {
        done = PyObject_CallMethodObjArgs(context, str_run, callback, (PyObject *)self, NULL);
    } else {
        PyObject *call_soon = PyObject_GetAttr(self->loop, str_call_soon);
        PyObject *args = PyTuple_Pack(2, callback, (PyObject *)self), *how = PyDict_New();
        done = NULL;
        if (call_soon != NULL && args != NULL && how != NULL
            && PyDict_SetItem(how, str_context, context) == 0) {
            done = PyObject_Call(call_soon, args, how);
        }
        Py_XDECREF(call_soon);
        Py_XDECREF(args);
        Py_XDECREF(how);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    Py_XDECREF(done);
    if (done == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *Waiter_wake(Waiter *self, PyObject *Py_UNUSED(none)) {
    if (self->state != PENDING) {
        Py_RETURN_NONE;
    }
    self->state = DONE;
    return Waiter_tell(self, 1);
}

static PyObject *Waiter_wake_soon(Waiter *self, PyObject *Py_UNUSED(none)) {
    if (self->state != PENDING) {
        Py_RETURN_NONE;
    }
    self->state = DONE;
    return Waiter_tell(self, 0);
}

static PyObject *Waiter_cancel(Waiter *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    if (self->state != PENDING) {
        Py_RETURN_FALSE;
    }
    self->state = CANCELLED;
    PyObject *told = Waiter_tell(self, 0);
    if (told == NULL) {
        return NULL;
    }
    Py_DECREF(told);
    Py_RETURN_TRUE;
}

static PyObject *Waiter_result(Waiter *self, PyObject *Py_UNUSED(none)) {
    if (self->state == CANCELLED) {
        PyErr_SetNone(cancelled_error);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *Waiter_done(Waiter *self, PyObject *Py_UNUSED(none)) {
    return PyBool_FromLong(self->state != PENDING);
}

static PyObject *Waiter_cancelled(Waiter *self, PyObject *Py_UNUSED(none)) {
    return PyBool_FromLong(self->state == CANCELLED);
}

static PyObject *Waiter_get_loop(Waiter *self, PyObject *Py_UNUSED(none)) {
    return Waiter_self(self->loop);
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))Waiter_add_done_callback,
     METH_VARARGS | METH_KEYWORDS, "What the task says that waits."},
    {"cancel", (PyCFunction)(void (*)(void))Waiter_cancel, METH_VARARGS | METH_KEYWORDS,
     "What a task says that is cancelled; whether it waited."},
    {"wake", (PyCFunction)Waiter_wake, METH_NOARGS, "Let the task go on, before this returns."},
    {"wake_soon", (PyCFunction)Waiter_wake_soon, METH_NOARGS, "Let it go on in the next turn."},
    {"result", (PyCFunction)Waiter_result, METH_NOARGS, "Nothing; raises if it was cancelled."},
    {"done", (PyCFunction)Waiter_done, METH_NOARGS, "Whether it was woken, or cancelled."},
    {"cancelled", (PyCFunction)Waiter_cancelled, METH_NOARGS, "Whether it was cancelled."},
    {"get_loop", (PyCFunction)Waiter_get_loop, METH_NOARGS, "The loop of the task."},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef waiter_members[] = {
    {"_asyncio_future_blocking", T_BOOL, offsetof(Waiter, blocking), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, "What one task waits for."},
    {Py_tp_new, Waiter_new},
    {Py_tp_methods, waiter_methods},
    {Py_tp_members, waiter_members},
    {Py_tp_traverse, Waiter_traverse},
    {Py_tp_clear, Waiter_clear},
    {Py_tp_dealloc, Waiter_dealloc},
    {Py_am_await, Waiter_self},
    {Py_tp_iter, Waiter_self},
    {Py_tp_iternext, Waiter_iternext},
    {0, NULL},
};
static PyType_Spec waiter_spec = {
    "net._short.Waiter", sizeof(Waiter), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, waiter_slots,
};

int add_waiter(PyObject *module) {
    PyObject *exceptions = PyImport_ImportModule("asyncio.exceptions");
    if (exceptions != NULL) {
        cancelled_error = PyObject_GetAttrString(exceptions, "CancelledError");
        Py_DECREF(exceptions);
    }
    str_run = PyUnicode_InternFromString("run");
    str_call_soon = PyUnicode_InternFromString("call_soon");
    str_context = PyUnicode_InternFromString("context");
    if (cancelled_error == NULL || str_run == NULL || str_call_soon == NULL || str_context == NULL) {
        return 1;
    }
    return add_type(module, "Waiter", &waiter_spec);
}
