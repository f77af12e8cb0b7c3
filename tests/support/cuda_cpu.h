// Run CUDA C++ kernels on the CPU, for tests on machines without a GPU.
//
// `cuda_shim.py` beside this file puts all .cu files into one C++ file after this header, and below
// them one CUDA_CPU_EXPORT(kernel) for each kernel. That makes the C function
//   int kernel__launch(unsigned grid, unsigned block, void **args)
// where args[i] points at the i-th kernel argument (the layout of cuLaunchKernel). It returns
//   0  fine
//   1  doubtful: threads met at different barriers, or some had already returned
//   2  deadlock: the waiting threads can never meet
//   3  bad block size
//
// Model: blocks run one after another on the calling thread. The threads of a block run one after
// another too, on one fiber, until one of them waits at a barrier; then the next ones run on a
// further fiber. So a run is deterministic, needs no locks, and a kernel without barriers costs a
// plain loop. cuda_cpu_set_order(1) runs threads and blocks in reverse: a kernel whose result then
// differs lacks a barrier or races on global memory. Warp exchange honours its mask: only the lanes
// that it names have to meet, as on hardware since compute capability 7.0.
//
// What it does not show: alignment faults, limits of registers and shared memory, bank conflicts,
// the memory model's reorderings, and the timing. Build with -ffp-contract=off; the GPU build has
// --fmad=false to match. (Build without _FORTIFY_SOURCE: fibers switch by _setjmp and _longjmp.)
#pragma once
#define CUDA_CPU 1
#include <csetjmp>
#include <ucontext.h>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __constant__ static
#define __shared__ static          // one block at a time, so static storage is per block
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 { unsigned x, y, z; dim3(unsigned a = 1) : x(a), y(1), z(1) {} };
struct uint3_ { unsigned x, y, z; };

namespace cuda_cpu {

enum { FRESH, RUN, DONE, BARRIER, WARP };
struct Fiber { jmp_buf at; char *stack = nullptr; };
struct Thread {
    uint3_ id{};
    int state = FRESH, line = 0;
    unsigned mask = 0;                        // lanes that this one waits for
    Fiber *fiber = nullptr;
    uint64_t slot = 0;                        // what it shows to the other lanes
};
struct State {
    jmp_buf main;
    std::vector<Fiber *> pool;                // every fiber made so far
    std::vector<Fiber *> idle;
    std::vector<Thread> th;
    Thread *cur = nullptr;
    size_t n = 0, next = 0;                   // threads of the block; next one not yet begun
    uint3_ bid{}; dim3 grid, block;
    int reverse = 0;
    void (*body)(void *) = nullptr; void *arg = nullptr;
};
inline State state;                           // one thread at a time may launch
inline State &S() { return state; }
constexpr size_t STACK = 128 * 1024;

inline size_t nth(size_t i) { State &s = S(); return s.reverse ? s.n - 1 - i : i; }

// A fiber runs fresh threads until none is left; a thread that waits takes its fiber out of play.
inline void fiber_main() {
    for (;;) {
        State &s = S();
        Fiber *me = s.cur->fiber;
        for (;;) {
            s.body(s.arg);
            s.cur->state = DONE;
            if (s.next == s.n) break;
            s.cur = &s.th[nth(s.next++)];
            s.cur->state = RUN; s.cur->fiber = me;
        }
        s.idle.push_back(me);
        if (!_setjmp(me->at)) _longjmp(s.main, 1);   // woken later for another block
    }
}
inline void wait(int why, int line, unsigned mask = 0) {
    Thread *me = S().cur; me->state = why; me->line = line; me->mask = mask;
    if (!_setjmp(me->fiber->at)) _longjmp(S().main, 1);
}
inline void resume(Thread &t) {
    State &s = S(); s.cur = &t; t.state = RUN;
    if (!_setjmp(s.main)) _longjmp(t.fiber->at, 1);
}
inline void begin(Thread &t) {
    State &s = S();
    if (!s.idle.empty()) { t.fiber = s.idle.back(); s.idle.pop_back(); resume(t); return; }
    Fiber *f = new Fiber; f->stack = static_cast<char *>(std::malloc(STACK)); s.pool.push_back(f);
    t.fiber = f; t.state = RUN; s.cur = &t;
    ucontext_t ctx; getcontext(&ctx);
    ctx.uc_stack.ss_sp = f->stack; ctx.uc_stack.ss_size = STACK; ctx.uc_link = nullptr;
    makecontext(&ctx, fiber_main, 0);
    if (!_setjmp(s.main)) setcontext(&ctx);
}

// Let the whole block go on if every thread that has not returned waits at the barrier.
inline bool release_block(int &doubt) {
    State &s = S(); size_t waiting = 0, live = 0; int line = 0; bool mixed = false;
    for (Thread &t : s.th) {
        live += t.state != DONE;
        if (t.state == BARRIER) { mixed |= waiting && t.line != line; line = t.line; ++waiting; }
    }
    if (!waiting || waiting != live) return false;
    if (mixed || live != s.n) doubt = 1;
    for (Thread &t : s.th) if (t.state == BARRIER) t.state = RUN;
    return true;
}

// Let lanes of one warp go on whose mask's lanes all wait with the same mask (or have returned).
inline bool release_warp(size_t lo) {
    State &s = S(); const size_t width = std::min<size_t>(32, s.n - lo); bool moved = false;
    for (size_t i = 0; i < width; ++i) {
        if (s.th[lo + i].state != WARP) continue;
        const unsigned mask = s.th[lo + i].mask; bool met = (mask >> i) & 1;
        for (size_t j = 0; j < width && met; ++j) {
            const Thread &t = s.th[lo + j];
            if ((mask >> j) & 1) met = t.state == DONE || (t.state == WARP && t.mask == mask);
        }
        if (!met) continue;
        for (size_t j = 0; j < width; ++j)
            if ((mask >> j) & 1 && s.th[lo + j].state == WARP) s.th[lo + j].state = RUN;
        moved = true;
    }
    return moved;
}

inline int run_block() {
    State &s = S(); const size_t n = s.n; int doubt = 0;
    for (Thread &t : s.th) t.state = FRESH;
    for (s.next = 0; s.next < n;) begin(s.th[nth(s.next++)]);
    for (;;) {
        size_t done = 0; bool moved = false;
        for (size_t i = 0; i < n; ++i) done += s.th[i].state == DONE;
        if (done == n) return doubt;
        for (size_t w = 0; w < n; w += 32) moved |= release_warp(w);
        if (!moved && !release_block(doubt)) { s.idle.clear(); return 2; }
        for (size_t i = 0; i < n; ++i) { Thread &t = s.th[nth(i)]; if (t.state == RUN) resume(t); }
    }
}

inline int launch(unsigned g, unsigned b, void (*body)(void *), void *arg) {
    State &s = S();
    s.grid = dim3(g); s.block = dim3(b); s.n = b;
    if (s.n == 0 || s.n > 1024) return 3;
    s.th.assign(s.n, Thread());
    for (unsigned i = 0; i < b; ++i) s.th[i].id = {i, 0, 0};
    s.body = body; s.arg = arg;
    int rc = 0; const size_t blocks = g;
    for (size_t k = 0; k < blocks && rc != 2; ++k) {
        const size_t i = s.reverse ? blocks - 1 - k : k;
        s.bid = {unsigned(i), 0, 0};
        rc = std::max(rc, run_block());
    }
    return rc;
}

template <class... A, size_t... I>
void call(void (*k)(A...), void **args, std::index_sequence<I...>) {
    k(*static_cast<std::remove_reference_t<A> *>(args[I])...);
}
template <class... A> struct Bound { void (*k)(A...); void **args; };
template <class... A>
int launch_kernel(void (*k)(A...), unsigned g, unsigned b, void **args) {
    Bound<A...> bound{k, args};
    auto body = [](void *p) {
        auto *q = static_cast<Bound<A...> *>(p);
        call(q->k, q->args, std::index_sequence_for<A...>{});
    };
    return launch(g, b, body, &bound);
}

// Warp exchange: every lane of the mask publishes 8 bytes, all meet, then each reads one lane.
inline int lane() { State &s = S(); return int((s.cur - s.th.data()) % 32); }
template <class T> T exchange(unsigned mask, T v, int from) {
    static_assert(sizeof(T) <= 8, "warp exchange of at most 8 bytes");
    State &s = S(); Thread *me = s.cur;
    const size_t j = (me - s.th.data()) / 32 * 32 + size_t(from);
    std::memcpy(&me->slot, &v, sizeof v); wait(WARP, 0, mask);
    T r = v; if (j < s.n && s.th[j].state != DONE) std::memcpy(&r, &s.th[j].slot, sizeof r);
    wait(WARP, 0, mask); return r;
}
} // namespace cuda_cpu
extern "C" void cuda_cpu_set_order(int reverse) { cuda_cpu::S().reverse = reverse; }

#define threadIdx (cuda_cpu::S().cur->id)
#define blockIdx (cuda_cpu::S().bid)
#define blockDim (cuda_cpu::S().block)
#define gridDim (cuda_cpu::S().grid)
#define warpSize 32
#define __syncthreads() cuda_cpu::wait(cuda_cpu::BARRIER, __LINE__)
inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda_cpu::wait(cuda_cpu::WARP, 0, mask); }
template <class T> T __shfl_xor_sync(unsigned mask, T v, int flip, int width = 32) {
    const int i = cuda_cpu::lane(), j = i ^ flip;
    return cuda_cpu::exchange(mask, v, j / width == i / width ? j : i);
}
inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8)
        c += int(int8_t(unsigned(a) >> i)) * int(int8_t(unsigned(b) >> i));
    return c;
}
using std::max;
using std::min;
#define CUDA_CPU_EXPORT(k) \
    extern "C" int k##__launch(unsigned g, unsigned b, void **a) { \
        return cuda_cpu::launch_kernel(k, g, b, a); \
    }
