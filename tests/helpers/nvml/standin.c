/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests alone: it tells of GPUs that a file describes
 * (scenario.h).
 *
 * Limits that are set are kept as a driver keeps them, for all processes: in a file beside that one,
 * `OTTER_NVML_SCENARIO`.limits.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scenario.h"

static unsigned power_set[GPUS];
static unsigned long long told[GPUS];

static int text_into(char *to, unsigned room, const char *text)
{
    if (strlen(text) >= room)
        return TOO_SMALL;
    strcpy(to, text);
    return OK;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    int code = called("init");
    if (!code)
        users++;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!users)
        return UNINITIALIZED;
    users--;
    return OK;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *to, unsigned room)
{
    int code = called("driver");
    return code ? code : text_into(to, room, now.driver);
}

int nvmlSystemGetCudaDriverVersion_v2(int *to)
{
    int code = called("cuda");
    *to = now.cuda;
    return code;
}

int nvmlDeviceGetCount_v2(unsigned *to)
{
    int code = called("count");
    *to = now.gpus;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    int code = called("handle");
    *handle = (void *)(size_t)(index + 1);
    return code ? code : index < now.gpus ? OK : INVALID;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle)
{
    int code = called("handle");
    for (unsigned i = 0; !code && i < now.gpus; i++)
        if (!strcmp(now.gpu[i].uuid, uuid)) {
            *handle = (void *)(size_t)(i + 1);
            return OK;
        }
    return code ? code : NOT_FOUND;
}

int nvmlDeviceGetIndex(void *handle, unsigned *to)
{
    *to = (unsigned)(size_t)handle - 1;
    return called("index");
}

int nvmlDeviceGetName(void *handle, char *to, unsigned room)
{
    Gpu *gpu;
    int code = asked(handle, "name", &gpu);
    return code ? code : text_into(to, room, gpu->name);
}

int nvmlDeviceGetUUID(void *handle, char *to, unsigned room)
{
    Gpu *gpu;
    int code = asked(handle, "uuid", &gpu);
    return code ? code : text_into(to, room, gpu->uuid);
}

typedef struct { unsigned long long total, free, used; } Memory;

int nvmlDeviceGetMemoryInfo(void *handle, Memory *to)
{
    Gpu *gpu;
    int code = asked(handle, "memory", &gpu);
    if (!code)
        *to = (Memory){gpu->total, gpu->total - gpu->used, gpu->used};
    return code;
}

typedef struct { unsigned gpu, memory; } Utilisation;

int nvmlDeviceGetUtilizationRates(void *handle, Utilisation *to)
{
    Gpu *gpu;
    int code = asked(handle, "utilisation", &gpu);
    if (!code)
        *to = (Utilisation){gpu->core, gpu->memory_use};
    return code;
}

int nvmlDeviceGetClockInfo(void *handle, unsigned kind, unsigned *to)
{
    Gpu *gpu;
    int code = asked(handle, "clock", &gpu);
    if (!code)
        *to = kind == 2 ? gpu->memory_clock : gpu->clock;
    return code;
}

int nvmlDeviceGetMaxClockInfo(void *handle, unsigned kind, unsigned *to)
{
    Gpu *gpu;
    int code = asked(handle, "clock", &gpu);
    if (!code)
        *to = kind == 2 ? gpu->memory_clock : gpu->clock_max;
    return code;
}

typedef struct { unsigned version, sensor; int temperature; } Temperature;

int nvmlDeviceGetTemperatureV(void *handle, Temperature *to)
{
    Gpu *gpu = NULL;
    int code = called("temperature_v");
    code = code ? code : asked(handle, "temperature", &gpu);
    if (!code)
        to->temperature = (int)gpu->temperature;
    return code;
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *to)
{
    Gpu *gpu;
    int code = asked(handle, "temperature", &gpu);
    (void)sensor;
    if (!code)
        *to = gpu->temperature;
    return code;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *to)
{
    Gpu *gpu;
    int code = asked(handle, "power", &gpu);
    if (!code)
        *to = gpu->power;
    return code;
}

int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *to)
{
    Gpu *gpu;
    int code = asked(handle, "power", &gpu);
    if (!code)
        *to = power_set[(size_t)handle - 1] ? power_set[(size_t)handle - 1] : gpu->power_limit;
    return code;
}

int nvmlDeviceSetPowerManagementLimit(void *handle, unsigned limit)
{
    Gpu *gpu;
    int code = asked(handle, "power", &gpu);
    if (!code)
        power_set[(size_t)handle - 1] = limit;
    return code;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
    Gpu *gpu;
    int code = asked(handle, "mig", &gpu);
    if (!code)
        *current = *pending = gpu->mig;
    return code;
}

typedef struct { const char *folder; unsigned long long soft, hard; } SetLimits;
typedef struct { const char *folder; unsigned long long soft, hard, used; } GetLimits;
typedef struct { char folder[256]; void *gpu; unsigned long long hard; } Limit;

static Limit *all_limits(void)
{
    static Limit *limits;
    char path[512];
    int fd;

    if (limits)
        return limits;
    snprintf(path, sizeof path, "%s.limits", getenv("OTTER_NVML_SCENARIO"));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, LIMITS * sizeof *limits))
        abort();
    limits = mmap(NULL, LIMITS * sizeof *limits, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (limits == MAP_FAILED)
        abort();
    return limits;
}

/* The limit of a group on a GPU: its own, or a free place for one. */
static Limit *limit_of(void *handle, const char *folder)
{
    Limit *limits = all_limits();

    for (unsigned i = 0; i < LIMITS; i++)
        if (!limits[i].gpu || (limits[i].gpu == handle && !strcmp(limits[i].folder, folder)))
            return &limits[i];
    return NULL;
}

static int limited(void *handle, const char *folder, Gpu **gpu)
{
    char file[300];
    int code = asked(handle, "limits", gpu);
    if (code)
        return code;
    if (!(*gpu)->piece)
        return NO_FUNCTION;
    if (strlen(folder) > 255)
        return NOT_FOUND;
    snprintf(file, sizeof file, "%s%s", folder, strcmp((*gpu)->backend, "dmem") ? "" : "/dmem.max");
    return access(file, F_OK) ? NOT_FOUND : OK;
}

int nvmlDeviceSetMemoryLimits_v1(void *handle, SetLimits *to)
{
    Gpu *gpu = NULL;
    int code = limited(handle, to->folder, &gpu);
    Limit *limit = code ? NULL : limit_of(handle, to->folder);
    if (!limit)
        return code ? code : TOO_SMALL;
    snprintf(limit->folder, sizeof limit->folder, "%s", to->folder);
    limit->gpu = handle;
    limit->hard = to->hard == ~0ull ? ~0ull : (to->hard + gpu->piece - 1) / gpu->piece * gpu->piece;
    return OK;
}

int nvmlDeviceGetMemoryLimits_v1(void *handle, GetLimits *to)
{
    Gpu *gpu = NULL;
    int code = limited(handle, to->folder, &gpu);
    Limit *limit = code ? NULL : limit_of(handle, to->folder);
    int has = limit && limit->gpu;
    to->soft = to->used = 0;
    to->hard = has ? limit->hard : ~0ull;
    if (!code && !has && !strcmp(gpu->backend, "misc"))
        return NOT_SUPPORTED;
    return code;
}

typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, instance; } Running;

static int running(void *handle, const char *kind, unsigned *count, Running *to)
{
    Gpu *gpu;
    int code = asked(handle, "processes", &gpu);
    unsigned room = *count, found = 0;
    if (code)
        return code;
    for (unsigned i = 0; i < gpu->processes; i++) {
        Process *process = &gpu->process[i];
        if (strcmp(process->kind, kind))
            continue;
        if (found < room && to)
            to[found] = (Running){process->pid, process->bytes, ~0u, ~0u};
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, Running *to)
{
    return running(handle, "compute", count, to);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, Running *to)
{
    return running(handle, "graphics", count, to);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, unsigned *count, Running *to)
{
    return running(handle, "mps", count, to);
}

int nvmlEventSetCreate(void **set)
{
    *set = told;
    return called("events");
}

int nvmlEventSetFree(void *set)
{
    (void)set;
    return OK;
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long kinds, void *set)
{
    Gpu *gpu;
    (void)kinds, (void)set;
    return asked(handle, "events", &gpu);
}

typedef struct {
    void *device;
    unsigned long long kind, data;
    unsigned gpu_instance, instance;
} Event;

int nvmlEventSetWait_v2(void *set, Event *to, unsigned timeout_ms)
{
    (void)set;
    for (unsigned waited = 0;; waited += 10) {
        int code = called("wait");
        if (code)
            return code;
        for (unsigned i = 0; i < now.gpus; i++)
            if (now.gpu[i].xid_number > told[i]) {
                told[i] = now.gpu[i].xid_number;
                *to = (Event){(void *)(size_t)(i + 1), 8, now.gpu[i].xid, ~0u, ~0u};
                return OK;
            }
        if (waited >= timeout_ms)
            return TIMEOUT;
        usleep(10000);
    }
}
