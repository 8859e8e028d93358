/* What net/_short.c and net/_short_waiter.c share. */
#ifndef OTTER_SHORT_H
#define OTTER_SHORT_H

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

/* Make a type of `spec` and add it to the module; not 0: it failed. */
__attribute__((visibility("hidden"))) int add_type(PyObject *module, const char *name, PyType_Spec *spec);

/* Add `Waiter`; not 0: it failed. */
__attribute__((visibility("hidden"))) int add_waiter(PyObject *module);

#endif
