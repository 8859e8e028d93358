/* What net/_short*.c share. */
#ifndef OTTER_SHORT_H
#define OTTER_SHORT_H

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define HERE __attribute__((visibility("hidden"))) /* not for other libraries */

/* What a message is made of; the rest of it is net.messages.Message, in Python. */
enum {
    VALUE, SEQ, RUN, NUMBER, REPLY_TO, MADE, QUEUED, SENT, EXPIRES, SIZE, URGENT, SOURCE, STREAM,
    RECEIVED, TAKEN, MISSING, CARRIER, RECORDED, FINISHED, TWINS, EXACTLY_ONCE, ANSWERS, HELD, COUNT
};

typedef struct {
    PyObject_HEAD
    PyObject *field[COUNT];
} Fields;

/* A new one with what is so for every message; what is particular is the caller's to set. */
HERE Fields *fields_new(PyTypeObject *type, PyObject *source, PyObject *stream, PyObject *received,
                        PyObject *carrier);

/* Make a type of `spec` and add it to the module; not 0: it failed. */
HERE int add_type(PyObject *module, const char *name, PyType_Spec *spec);

/* Constants, made once. */
extern HERE PyObject *str_done, *empty, *zero, *nought, *no_tuple;

/* `Fields` itself, once it is added. */
extern HERE PyTypeObject *fields_type;

/* Add `Fields`, `Waiter`; not 0: it failed. */
HERE int add_fields(PyObject *module);
HERE int add_waiter(PyObject *module);

#endif
