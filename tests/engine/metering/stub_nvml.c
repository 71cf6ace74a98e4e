/* NVML for tests: libnvidia-ml.so.1 with two cards, whose faults the environment names.
 *
 * STUB_LACKS: names of functions that answer "not supported", separated by spaces.
 * STUB_LOST: the index of a card that has fallen off the bus. STUB_HANGS: a FIFO that one question
 * of a sample opens for reading, so that it waits until the test opens it for writing.
 * STUB_XID: an Xid that the next look finds for card 1, once. Signatures are those of nvml.h.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, NO_DRIVER = 9, TIMEOUT = 10, LOST = 15 };
struct card { unsigned index; };
static struct card cards[2] = {{0}, {1}};
typedef struct card *device;

static int lacks(const char *name) {
    const char *names = getenv("STUB_LACKS"), *at = names;
    size_t length = strlen(name);
    while (at && (at = strstr(at, name))) {
        if ((at == names || at[-1] == ' ') && (at[length] == 0 || at[length] == ' ')) return 1;
        at += length;
    }
    return 0;
}

static int check(const char *name, device card) {
    const char *lost = getenv("STUB_LOST");
    if (card && lost && atoi(lost) == (int)card->index) return LOST;
    return lacks(name) ? NOT_SUPPORTED : OK;
}
#define CHECK(card) do { int fault = check(__func__, card); if (fault) return fault; } while (0)

int nvmlInitWithFlags(unsigned flags) { (void)flags; return lacks(__func__) ? NO_DRIVER : OK; }
int nvmlInit_v2(void) { return lacks(__func__) ? NO_DRIVER : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "a stub's error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *card) {
    CHECK(&cards[index]);
    *card = &cards[index];
    return OK;
}

int nvmlDeviceGetMemoryInfo(device card, uint64_t memory[3]) { /* total, free, used */
    CHECK(card);
    memory[0] = 80ull << 30; memory[1] = 77ull << 30; memory[2] = 3ull << 30;
    return OK;
}

int nvmlDeviceGetName(device card, char *name, unsigned size) {
    CHECK(card);
    snprintf(name, size, "Stub H%u", card->index);
    return OK;
}

int nvmlDeviceGetUtilizationRates(device card, unsigned rates[2]) {
    CHECK(card);
    rates[0] = 83; rates[1] = 12;
    return OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(device card, uint64_t *reasons) {
    CHECK(card);
    *reasons = 0x4 | 0x40;
    return OK;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device card, uint64_t *reasons) {
    CHECK(card);
    *reasons = 0x80;
    return OK;
}

int nvmlDeviceGetPowerUsage(device card, unsigned *mw) { CHECK(card); *mw = 312000; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(device card, unsigned *mw) { CHECK(card); *mw = 700000; return OK; }

int nvmlDeviceGetTemperature(device card, int sensor, unsigned *celsius) {
    const char *fifo = getenv("STUB_HANGS");
    CHECK(card);
    if (fifo && *fifo) {
        int waits = open(fifo, O_RDONLY);
        if (waits >= 0) close(waits);
    }
    *celsius = 61 + sensor;
    return OK;
}

int nvmlDeviceGetTotalEnergyConsumption(device card, uint64_t *mj) {
    CHECK(card);
    *mj = 123456789012ull + card->index;
    return OK;
}

int nvmlDeviceGetClockInfo(device card, int clock, unsigned *mhz) {
    CHECK(card);
    *mhz = clock == 1 ? 1410 : 2619;
    return OK;
}

int nvmlDeviceGetMaxClockInfo(device card, int clock, unsigned *mhz) {
    CHECK(card);
    *mhz = clock == 1 ? 1980 : 2619;
    return OK;
}

int nvmlDeviceGetTotalEccErrors(device card, int type, int counter, uint64_t *count) {
    CHECK(card);
    *count = type == 1 && counter == 0 ? 2 : 99;
    return OK;
}

struct process { unsigned pid; uint64_t memory; unsigned gpu, compute; };

int nvmlDeviceGetComputeRunningProcesses_v3(device card, unsigned *count, struct process *found) {
    CHECK(card);
    if (!found) { *count = 2; return INSUFFICIENT_SIZE; }
    found[0] = (struct process){4711, 1ull << 30, ~0u, ~0u};
    found[1] = (struct process){4712, ~0ull, ~0u, ~0u}; /* not available */
    *count = 2;
    return OK;
}

struct event { device card; uint64_t type, data; unsigned gpu, compute; };

int nvmlEventSetCreate(void **set) { CHECK(NULL); *set = &cards; return OK; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }

int nvmlDeviceRegisterEvents(device card, uint64_t types, void *set) {
    (void)set;
    CHECK(card);
    return types == 8 ? OK : NOT_SUPPORTED;
}

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned ms) {
    const char *xid = getenv("STUB_XID");
    (void)set; (void)ms;
    if (!xid || !*xid) return TIMEOUT;
    *event = (struct event){&cards[1], 8, strtoull(xid, NULL, 10), 0, 0};
    unsetenv("STUB_XID");
    return OK;
}
