/* Copying into shared memory, past the caches where it is much: net/plain/copying.py says why. */
#include "_short.h"

#ifdef __SSE2__
#include <emmintrin.h>

enum { LINE = 64, AHEAD = 1024 };

/* Whole lines, to where one begins: a line that is written whole needn't be fetched before. */
static void stream_lines(char *to, const char *from, size_t size) {
    for (size_t at = 0; at < size; at += LINE) {
        const __m128i *source = (const __m128i *)(from + at);
        __m128i *target = (__m128i *)(to + at);
        _mm_prefetch(from + at + AHEAD, _MM_HINT_NTA); /* beyond the end it does nothing */
        __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
        __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    _mm_sfence(); /* before anybody is told */
}

static void stream(char *to, const char *from, size_t size) {
    size_t before = (size_t)(-(uintptr_t)to % LINE);
    size_t lines = (size - before) / LINE * LINE;
    memcpy(to, from, before);
    stream_lines(to + before, from + before, lines);
    memcpy(to + before + lines, from + before + lines, size - before - lines);
}
#else
#define stream memcpy
#endif

enum { MUCH = 8 << 20 };

/* copy_in(memory, at, data): where it ends. */
static PyObject *copy_in(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer memory, data;
    Py_ssize_t at = count == 3 ? PyLong_AsSsize_t(args[1]) : -1;
    if (count != 3 || (at == -1 && PyErr_Occurred())) {
        if (count != 3) {
            PyErr_SetString(PyExc_TypeError, "copy_in takes memory, a place and data");
        }
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &memory, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&memory);
        return NULL;
    }
    int fits = at >= 0 && at <= memory.len && data.len <= memory.len - at;
    if (fits && data.len >= MUCH) {
        stream((char *)memory.buf + at, data.buf, (size_t)data.len);
    } else if (fits && data.len) {
        memcpy((char *)memory.buf + at, data.buf, (size_t)data.len);
    }
    PyBuffer_Release(&memory);
    Py_ssize_t end = at + data.len;
    PyBuffer_Release(&data);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "that doesn't fit there");
        return NULL;
    }
    return PyLong_FromSsize_t(end);
}

static PyMethodDef functions[] = {
    {"copy_in", (PyCFunction)(void (*)(void))copy_in, METH_FASTCALL, "Copy data into memory; where it ends."},
    {NULL, NULL, 0, NULL},
};

int add_copying(PyObject *module) {
    return PyModule_AddFunctions(module, functions) < 0;
}
