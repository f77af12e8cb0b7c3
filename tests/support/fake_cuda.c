/* A stand-in for libcuda: host memory instead of device memory, limits and faults on demand. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
static int devices = 1, failing_code = 0, capturing = 0, live = 0, contexts = 0;
static char failing[64] = "";
static size_t limit = (size_t)1 << 30, used = 0;
static int (*on_launch)(uint64_t graph) = 0;
static uint64_t next_handle = 1000;

void fake_set_devices(int count) { devices = count; }
void fake_set_limit(size_t bytes) { limit = bytes; }
void fake_fail(const char* function, int code) { strncpy(failing, function, 63); failing_code = code; }
void fake_on_launch(int (*callback)(uint64_t)) { on_launch = callback; }
int fake_capturing(void) { return capturing; }
int fake_live(void) { return live; }
int fake_contexts(void) { return contexts; }
void fake_reset(void) {
  devices = 1; failing_code = 0; failing[0] = 0; capturing = 0; limit = (size_t)1 << 30;
  used = 0; on_launch = 0; live = 0; contexts = 0;
}
#define CHECK if (failing_code && !strcmp(failing, __func__)) return failing_code

CUresult cuInit(unsigned flags) { CHECK; return flags ? 1 : 0; }
CUresult cuDriverGetVersion(int* version) { CHECK; *version = 12060; return 0; }
CUresult cuDeviceGetCount(int* count) { CHECK; *count = devices; return 0; }
CUresult cuDeviceGet(int* device, int number) { CHECK; *device = number; return 0; }
CUresult cuDeviceGetName(char* name, int size, int device) {
  CHECK; (void)device; strncpy(name, "Imaginary Orin", size); return 0;
}
CUresult cuDeviceGetAttribute(int* value, int attribute, int device) {
  CHECK; (void)device; *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1; return 0;
}
CUresult cuDevicePrimaryCtxRetain(void** context, int device) {
  CHECK; (void)device; *context = (void*)7; contexts++; return 0;
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) { CHECK; (void)device; contexts--; return 0; }
CUresult cuCtxSetCurrent(void* context) { CHECK; return context == (void*)7 ? 0 : 201; }
CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  CHECK; *free_bytes = limit - used; *total = limit; return 0;
}
CUresult cuMemAlloc_v2(uint64_t* address, size_t size) {
  CHECK;
  if (used + size > limit) return 2;
  size_t* block = malloc(size + 16);
  block[0] = size; used += size; live++;
  memset(block + 2, 0xff, size); /* NaN: memory that nobody wrote must show */
  *address = (uint64_t)(uintptr_t)(block + 2);
  return 0;
}
CUresult cuMemFree_v2(uint64_t address) {
  CHECK;
  size_t* block = (size_t*)(uintptr_t)address - 2;
  used -= block[0]; live--; free(block); return 0;
}
CUresult cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, void* stream) {
  CHECK; (void)stream; memcpy((void*)(uintptr_t)to, from, size); return 0;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) {
  CHECK; (void)stream; memcpy(to, (void*)(uintptr_t)from, size); return 0;
}
CUresult cuStreamCreate(void** stream, unsigned flags) {
  CHECK; (void)flags; live++; *stream = (void*)(uintptr_t)next_handle++; return 0;
}
CUresult cuStreamSynchronize(void* stream) { CHECK; return stream ? 0 : 400; }
CUresult cuStreamDestroy_v2(void* stream) { CHECK; (void)stream; live--; return 0; }
CUresult cuStreamBeginCapture_v2(void* stream, int mode) {
  CHECK; (void)stream; (void)mode; capturing = 1; return 0;
}
CUresult cuStreamEndCapture(void* stream, void** graph) {
  CHECK; (void)stream; capturing = 0; live++; *graph = (void*)(uintptr_t)next_handle++; return 0;
}
CUresult cuGraphInstantiateWithFlags(void** executable, void* graph, uint64_t flags) {
  CHECK; (void)flags; live++; *executable = (char*)graph + 1000000; return 0;
}
CUresult cuGraphLaunch(void* executable, void* stream) {
  CHECK; (void)stream; return on_launch ? on_launch((uint64_t)(uintptr_t)executable - 1000000) : 0;
}
CUresult cuGraphExecDestroy(void* executable) { CHECK; (void)executable; live--; return 0; }
CUresult cuGraphDestroy(void* graph) { CHECK; (void)graph; live--; return 0; }
CUresult cuGetErrorName(int code, const char** text) {
  *text = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 100 ? "CUDA_ERROR_NO_DEVICE"
        : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : 0;
  return *text ? 0 : 1;
}
CUresult cuGetErrorString(int code, const char** text) {
  *text = code == 2 ? "out of memory" : code == 100 ? "no CUDA-capable device is detected"
        : "an illegal memory access was encountered";
  return 0;
}
