/* Waiter: what one task waits for that is to go on at once, not in the loop's next turn.
 *
 * To asyncio's tasks it is what a future is. One of a desk gives the desk's next message: as soon as
 * it is awaited, or when it comes. net/plain has the same in Python.
 */
#include "_short.h"

static PyObject *str_run, *str_call_soon, *str_context, *str_append, *str_raise, *str_gave_up;
static PyObject *str_get_loop, *cancelled_error;
PyTypeObject *waiter_type;

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
    Py_VISIT(self->desk);
    Py_VISIT(self->result);
    return 0;
}

static int Waiter_clear(Waiter *self) {
    Py_CLEAR(self->loop);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_CLEAR(self->desk);
    Py_CLEAR(self->result);
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

/* Stand in the desk's line. */
static int Waiter_queue(Waiter *self) {
    Desk *desk = (Desk *)self->desk;
    if (!IS_SET(desk->loop)) {
        PyObject *loop = CALL(desk, str_get_loop);
        if (loop == NULL) {
            return -1;
        }
        PyObject *before = desk->loop;
        desk->loop = loop;
        Py_XDECREF(before);
    }
    if (self->loop != desk->loop) {
        PyObject *before = self->loop;
        Py_INCREF(desk->loop);
        self->loop = desk->loop;
        Py_XDECREF(before);
    }
    PyObject *said = desk->waiters == NULL ? NULL : TELL(desk->waiters, str_append, (PyObject *)self);
    if (said == NULL) {
        return -1;
    }
    Py_DECREF(said);
    self->state = PENDING;
    return 0;
}

/* The desk's next message: 1: here it is; 0: there is none yet; -1: it raised, maybe as all ended. */
static int Waiter_take(Waiter *self, PyObject **message) {
    Desk *desk = (Desk *)self->desk;
    *message = desk_take(desk);
    if (*message == NULL) {
        return -1;
    }
    if (*message != Py_None) {
        return 1;
    }
    Py_DECREF(*message);
    *message = NULL;
    if (desk->closed || desk->ended) {
        if (self->iterates) {
            PyErr_SetNone(PyExc_StopAsyncIteration);
            return -1;
        }
        PyObject *said = CALL(desk, str_raise);
        Py_XDECREF(said);
        if (said == NULL) {
            return -1;
        }
    }
    return Waiter_queue(self);
}

/* Once to the task, to be waited for; the second time, it is over, or there is a message. */
static PySendResult Waiter_send(Waiter *self, PyObject *Py_UNUSED(sent), PyObject **result) {
    if (self->result != NULL) {
        *result = self->result;
        self->result = NULL;
        return PYGEN_RETURN;
    }
    if (self->desk != NULL) {
        int taken = Waiter_take(self, result);
        if (taken) {
            return taken < 0 ? PYGEN_ERROR : PYGEN_RETURN;
        }
    } else if (self->state != PENDING || self->yielded) {
        Py_INCREF(Py_None);
        *result = Py_None;
        return PYGEN_RETURN;
    }
    self->yielded = self->blocking = 1;
    Py_INCREF((PyObject *)self);
    *result = (PyObject *)self;
    return PYGEN_NEXT;
}

static PyObject *Waiter_iternext(Waiter *self) {
    PyObject *result = NULL;
    switch (Waiter_send(self, Py_None, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        if (result != Py_None) {
            PyErr_SetObject(PyExc_StopIteration, result);
        }
        Py_DECREF(result);
        return NULL;
    default:
        return NULL;
    }
}

/* throw(type, value, traceback), or throw(exception): the task was cancelled. */
static PyObject *Waiter_throw(Waiter *self, PyObject *args) {
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO", &type, &value, &traceback)) {
        return NULL;
    }
    if (self->desk != NULL) {
        PyObject *said = TELL(self->desk, str_gave_up, (PyObject *)self);
        if (said == NULL) {
            return NULL;
        }
        Py_DECREF(said);
    }
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
        return NULL;
    }
    value = value == Py_None ? NULL : value;
    traceback = traceback == Py_None ? NULL : traceback;
    Py_INCREF(type);
    Py_XINCREF(value);
    Py_XINCREF(traceback);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

/* add_done_callback(callback, *, context=None); parsed by hand, as each message does it. */
static PyObject *Waiter_add_done_callback(Waiter *self, PyObject *const *args, Py_ssize_t count,
                                          PyObject *names) {
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    int known = named == 1 && PyUnicode_Compare(PyTuple_GetItem(names, 0), str_context) == 0;
    if (count != 1 || (named && !known)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback takes a callback and its context");
        return NULL;
    }
    PyObject *callback = args[0], *context = named ? args[1] : Py_None;
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
PyObject *waiter_tell(Waiter *self, int now) {
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
    return waiter_tell(self, 1);
}

static PyObject *Waiter_wake_soon(Waiter *self, PyObject *Py_UNUSED(none)) {
    if (self->state != PENDING) {
        Py_RETURN_NONE;
    }
    self->state = DONE;
    return waiter_tell(self, 0);
}

static PyObject *Waiter_cancel(Waiter *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    if (self->state != PENDING) {
        Py_RETURN_FALSE;
    }
    self->state = CANCELLED;
    PyObject *told = waiter_tell(self, 0);
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
    return Waiter_self(self->loop == NULL ? Py_None : self->loop);
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))Waiter_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, "What the task says that waits."},
    {"cancel", (PyCFunction)(void (*)(void))Waiter_cancel, METH_VARARGS | METH_KEYWORDS,
     "What a task says that is cancelled; whether it waited."},
    {"throw", (PyCFunction)Waiter_throw, METH_VARARGS, "The task goes on with an exception."},
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
    {Py_am_send, Waiter_send},
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
    static const struct {
        PyObject **where;
        const char *name;
    } names[] = {
        {&str_run, "run"}, {&str_call_soon, "call_soon"}, {&str_context, "context"},
        {&str_append, "append"}, {&str_raise, "raise_if_ended"}, {&str_gave_up, "_gave_up"},
        {&str_get_loop, "_get_loop"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *names[i].where = PyUnicode_InternFromString(names[i].name);
        if (*names[i].where == NULL) {
            return 1;
        }
    }
    waiter_type = cancelled_error == NULL ? NULL : add_type(module, "Waiter", &waiter_spec, NULL);
    return waiter_type == NULL;
}
