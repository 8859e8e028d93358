/* What the stand-in tells of: GPUs that a file describes.
 *
 * OTTER_NVML_SCENARIO names the file; it is read anew at each call, so a test changes what there is
 * by writing another file in its place. A line each:
 *
 *     driver 580.82.07          version of the driver
 *     cuda 13000                version of CUDA, 1000 * major + 10 * minor
 *     fail CALL CODE            CALL (`init`, `count`, `events`, ...) returns CODE; `temperature_v 13` is
 *                               a driver that has only the older call for the temperature
 *     hang CALL SECONDS         CALL takes so long
 *     gpu UUID NAME             one more GPU; what follows is of it
 *     memory TOTAL USED         bytes
 *     utilisation CORE MEMORY   percent
 *     clock CORE MEMORY MAX     MHz
 *     temperature DEGREES
 *     power NOW LIMIT           mW
 *     mig CURRENT
 *     process KIND PID BYTES    KIND: compute, graphics, mps
 *     lacks WHAT                what this GPU doesn't support: memory, utilisation, clock, ...
 *     limits PIECE              its memory can be limited by control group, in pieces of so much
 *     backend WORD              how: `misc`: to ask of a group without a limit is not supported;
 *                               `dmem`: only of groups that have a file dmem.max, so never the root
 *     lost                      the GPU has fallen off the bus
 *     xid NUMBER CODE           an error; told once, NUMBER counts up from 1 in a file
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7,
    TIMEOUT = 10, NO_FUNCTION = 13, LOST = 15
};
enum { GPUS = 16, PROCESSES = 64, LACKS = 16, CALLS = 8, LIMITS = 64 };

typedef struct { char kind[16]; unsigned pid; unsigned long long bytes; } Process;
typedef struct {
    char uuid[80], name[96], lacks[LACKS][24], backend[8];
    unsigned lacking, core, memory_use, clock, memory_clock, clock_max, temperature, mig, processes;
    unsigned power, power_limit, lost;
    unsigned long long total, used, piece;
    unsigned long long xid_number, xid;
    Process process[PROCESSES];
} Gpu;
typedef struct { char call[24]; int code, seconds; } Call;
typedef struct {
    char driver[80];
    int cuda;
    unsigned gpus, calls;
    Gpu gpu[GPUS];
    Call call[CALLS];
} Scenario;

static int users;
static __thread Scenario now;

static void read_scenario(void)
{
    char line[512];
    const char *path = getenv("OTTER_NVML_SCENARIO");
    FILE *file = path ? fopen(path, "r") : NULL;
    Gpu *gpu = NULL;

    memset(&now, 0, sizeof now);
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char word[24] = "", text[96] = "";
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, " %23s %n", word, &at) < 1 || word[0] == '#')
            continue;
        const char *rest = line + at;
        if (!strcmp(word, "driver"))
            snprintf(now.driver, sizeof now.driver, "%s", rest);
        else if (!strcmp(word, "cuda"))
            now.cuda = atoi(rest);
        else if ((!strcmp(word, "fail") || !strcmp(word, "hang")) && now.calls < CALLS) {
            int value = 0;
            if (sscanf(rest, "%23s %d", text, &value) == 2) {
                Call *call = &now.call[now.calls++];
                snprintf(call->call, sizeof call->call, "%.23s", text);
                *(word[0] == 'f' ? &call->code : &call->seconds) = value;
            }
        } else if (!strcmp(word, "gpu") && now.gpus < GPUS) {
            gpu = &now.gpu[now.gpus++];
            if (sscanf(rest, "%79s %n", gpu->uuid, &at) >= 1)
                snprintf(gpu->name, sizeof gpu->name, "%.95s", rest + at);
        } else if (!gpu)
            continue;
        else if (!strcmp(word, "memory"))
            sscanf(rest, "%llu %llu", &gpu->total, &gpu->used);
        else if (!strcmp(word, "utilisation"))
            sscanf(rest, "%u %u", &gpu->core, &gpu->memory_use);
        else if (!strcmp(word, "clock"))
            sscanf(rest, "%u %u %u", &gpu->clock, &gpu->memory_clock, &gpu->clock_max);
        else if (!strcmp(word, "temperature"))
            gpu->temperature = atoi(rest);
        else if (!strcmp(word, "power"))
            sscanf(rest, "%u %u", &gpu->power, &gpu->power_limit);
        else if (!strcmp(word, "mig"))
            gpu->mig = atoi(rest);
        else if (!strcmp(word, "limits"))
            sscanf(rest, "%llu", &gpu->piece);
        else if (!strcmp(word, "backend"))
            snprintf(gpu->backend, sizeof gpu->backend, "%.7s", rest);
        else if (!strcmp(word, "lost"))
            gpu->lost = 1;
        else if (!strcmp(word, "xid"))
            sscanf(rest, "%llu %llu", &gpu->xid_number, &gpu->xid);
        else if (!strcmp(word, "lacks") && gpu->lacking < LACKS)
            snprintf(gpu->lacks[gpu->lacking++], 24, "%.23s", rest);
        else if (!strcmp(word, "process") && gpu->processes < PROCESSES) {
            Process *process = &gpu->process[gpu->processes++];
            sscanf(rest, "%15s %u %llu", process->kind, &process->pid, &process->bytes);
        }
    }
    fclose(file);
}

/* What a call returns, whatever it would do. */
static int called(const char *name)
{
    read_scenario();
    for (unsigned i = 0; i < now.calls; i++)
        if (!strcmp(now.call[i].call, name)) {
            sleep(now.call[i].seconds);
            if (now.call[i].code)
                return now.call[i].code;
        }
    return users || !strcmp(name, "init") ? OK : UNINITIALIZED;
}

/* The same of a GPU; a handle is its number and 1, so that none is NULL. */
static int asked(void *handle, const char *what, Gpu **gpu)
{
    size_t number = (size_t)handle;
    int code = called(what);
    if (code)
        return code;
    if (!number || number > now.gpus)
        return INVALID;
    *gpu = &now.gpu[number - 1];
    if ((*gpu)->lost)
        return LOST;
    for (unsigned i = 0; i < (*gpu)->lacking; i++)
        if (!strcmp((*gpu)->lacks[i], what))
            return NOT_SUPPORTED;
    return OK;
}
