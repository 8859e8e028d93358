/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests alone: it tells of GPUs that a file describes.
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
 *     lost                      the GPU has fallen off the bus
 *     xid NUMBER CODE           an error; told once, NUMBER counts up from 1 in a file
 *
 * Limits that are set are kept while the library is loaded.
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
    char uuid[80], name[96], lacks[LACKS][24];
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
static unsigned power_set[GPUS];
static unsigned long long told[GPUS];
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
    Gpu *gpu;
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
static Limit limits[LIMITS];

/* The limit of a group on a GPU: its own, or a free place for one. */
static Limit *limit_of(void *handle, const char *folder)
{
    for (unsigned i = 0; i < LIMITS; i++)
        if (!limits[i].gpu || (limits[i].gpu == handle && !strcmp(limits[i].folder, folder)))
            return &limits[i];
    return NULL;
}

static int limited(void *handle, const char *folder, Gpu **gpu)
{
    int code = asked(handle, "limits", gpu);
    if (code)
        return code;
    if (!(*gpu)->piece)
        return NO_FUNCTION;
    return access(folder, F_OK) || strlen(folder) > 255 ? NOT_FOUND : OK;
}

int nvmlDeviceSetMemoryLimits_v1(void *handle, SetLimits *to)
{
    Gpu *gpu;
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
    Gpu *gpu;
    int code = limited(handle, to->folder, &gpu);
    Limit *limit = code ? NULL : limit_of(handle, to->folder);
    to->soft = to->used = 0;
    to->hard = limit && limit->gpu ? limit->hard : ~0ull;
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
