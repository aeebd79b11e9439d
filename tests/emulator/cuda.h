// Runs CUDA C++ kernels on the CPU, for tests. Every thread of a block is a fiber with a stack of its own; fibers of a
// block take turns on one OS thread and are switched at barriers, warp collectives and, on request, at atomics.
//
// What it is strict about, since a GPU would only behave strangely: lanes that meet in different collectives, a
// collective whose mask names a lane that has returned or leaves the caller out, a shuffle from a lane outside the mask,
// a barrier that some threads of the block never reach, threads that wait for ever. Shared memory begins as garbage.
//
// The order in which threads and blocks run is part of a launch: 0 ascending, 1 descending, else the seed of a random
// order. A kernel whose result depends on it has a race.
//
// Under the thread sanitizer each thread is one of its fibers: __syncwarp and __syncthreads order what lanes read and
// write, ballots, shuffles and atomics order nothing, as on a GPU. What is not ordered and not the same is reported.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMULATOR_ASAN 1
#else
#define EMULATOR_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define EMULATOR_TSAN 1
#define UNSEEN __attribute__((no_sanitize("thread")))
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_acquire(void* token);
void __tsan_release(void* token);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#else
#define EMULATOR_TSAN 0
#define UNSEEN
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// The language

#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __host__
#define __constant__
#if EMULATOR_TSAN
#define __forceinline__ inline
#else
#define __forceinline__ inline __attribute__((always_inline))
#endif
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static

struct Index3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};

namespace emulator {

// What the thread sanitizer is told; nothing without it. A release orders all that a fiber has done before all that another
// one does after it has acquired the same token.

#if EMULATOR_TSAN
constexpr unsigned UNORDERED = 1;  // a switch that orders nothing
UNSEEN inline void* new_fiber() { return __tsan_create_fiber(0); }
UNSEEN inline void end_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
UNSEEN inline void* this_fiber() { return __tsan_get_current_fiber(); }
UNSEEN inline void switch_to(void* fiber) { __tsan_switch_to_fiber(fiber, UNORDERED); }
UNSEEN inline void release(void* token) { __tsan_release(token); }
UNSEEN inline void acquire(void* token) { __tsan_acquire(token); }
inline char tokens[1 << 22];  // one for each meeting of lanes
inline unsigned next_token;
UNSEEN inline void* new_token() { return &tokens[++next_token % sizeof tokens]; }
struct Unseen {
    UNSEEN __attribute__((noinline)) Unseen()
    {
        AnnotateIgnoreReadsBegin("", 0);
        AnnotateIgnoreWritesBegin("", 0);
    }
    UNSEEN __attribute__((noinline)) ~Unseen()
    {
        AnnotateIgnoreReadsEnd("", 0);
        AnnotateIgnoreWritesEnd("", 0);
    }
};
#else
inline void* new_fiber() { return nullptr; }
inline void end_fiber(void*) {}
inline void* this_fiber() { return nullptr; }
inline void switch_to(void*) {}
inline void release(void*) {}
inline void acquire(void*) {}
inline void* new_token() { return nullptr; }
struct Unseen {
    Unseen() {}
};
#endif
inline char launch_token;  // what blocks have done is ordered before what follows the launch

// Switching between stacks: save the registers that a callee must keep, exchange stack pointers.

#if defined(__x86_64__)
extern "C" void emulator_switch(void** save, void* load);
asm(R"(.text
.type emulator_switch,@function
emulator_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi); movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret
.size emulator_switch,.-emulator_switch)");

struct Stack {
    void* pointer = nullptr;
    UNSEEN void begin(char* memory, size_t size, void (*entry)())
    {
        void** top = (void**)(((uintptr_t)memory + size) & ~(uintptr_t)15);
        *--top = nullptr;  // where a return address would lie
        *--top = (void*)entry;
        top -= 6;  // the registers
        memset(top, 0, 6 * sizeof(void*));
        pointer = top;
    }
    UNSEEN static void change(Stack& from, Stack& to) { emulator_switch(&from.pointer, to.pointer); }
};
#else
struct Stack {
    ucontext_t context;
    UNSEEN void begin(char* memory, size_t size, void (*entry)())
    {
        getcontext(&context);
        context.uc_stack.ss_sp = memory;
        context.uc_stack.ss_size = size;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    UNSEEN static void change(Stack& from, Stack& to) { swapcontext(&from.context, &to.context); }
};
#endif

constexpr size_t PAGE = 4096;
constexpr size_t STACK_BYTES = EMULATOR_ASAN ? 256 << 10 : 64 << 10;  // the first page of each is not accessible

struct Launch {
    unsigned blocks, threads;
    size_t shared_bytes;
    unsigned order;
    int switch_at_atomics;
};

enum Operation { SYNC, SHUFFLE, BALLOT };

enum State { READY, AT_BARRIER, IN_COLLECTIVE, DONE };

// Lanes of a warp that meet in one collective.
struct Meeting {
    unsigned mask, arrived;
    int operation, line, readers;
    uint64_t values[32];
    void* token;
};

struct Fiber {
    Stack stack;
    Index3 index;
    unsigned lane, warp;
    State state;
    int line;  // of the barrier or collective where it waits
    void* asan_stack;
    void* tsan;
};

struct Warp {
    unsigned live;
    std::vector<Meeting*> open;
};

// The block that runs.
struct Block {
    const Launch* launch;
    Index3 index, dim, grid;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<Meeting*> spare;
    Stack scheduler;
    void* asan_stack = nullptr;
    const void* asan_bottom = nullptr;
    size_t asan_size = 0;
    char *stacks = nullptr, *shared = nullptr;
    unsigned live, waiting;
    int barrier_line;
    uint64_t random;
    std::string error;
    bool stop;
    void (*kernel)(void*);
    void* arguments;
    void* tsan;
};

inline Block* block;
inline Fiber* fiber;

UNSEEN inline uint64_t next_random()
{
    block->random = block->random * 6364136223846793005ull + 1442695040888963407ull;
    return block->random >> 33;
}

UNSEEN inline void resume(Fiber& f)
{
    fiber = &f;
    switch_to(f.tsan);
#if EMULATOR_ASAN
    char* memory = block->stacks + (&f - block->fibers.data()) * STACK_BYTES + PAGE;
    __sanitizer_start_switch_fiber(&block->asan_stack, memory, STACK_BYTES - PAGE);
#endif
    Stack::change(block->scheduler, f.stack);
#if EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(block->asan_stack, nullptr, nullptr);
#endif
}

// Back to the scheduler; returns when this fiber's turn comes again.
UNSEEN inline void yield()
{
    Fiber& me = *fiber;
    switch_to(block->tsan);
#if EMULATOR_ASAN
    void** save = me.state == DONE ? nullptr : &me.asan_stack;
    __sanitizer_start_switch_fiber(save, block->asan_bottom, block->asan_size);
#endif
    Stack::change(me.stack, block->scheduler);
#if EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(me.asan_stack, nullptr, nullptr);
#endif
}

UNSEEN [[noreturn]] inline void fail(const std::string& what)
{
    if (block->error.empty())
        block->error = what + " (block " + std::to_string(block->index.x) + ", thread " +
            std::to_string(fiber->index.x) + ")";
    block->stop = true;
    fiber->state = DONE;
    for (;;) yield();
}

UNSEEN inline void release_barrier()
{
    for (Fiber& f : block->fibers)
        if (f.state == AT_BARRIER) f.state = READY;
    block->waiting = 0;
}

UNSEEN inline void barrier(int line)
{
    if (block->waiting && block->barrier_line != line)
        fail("__syncthreads of line " + std::to_string(line) + " meets the one of line " +
             std::to_string(block->barrier_line));
    block->barrier_line = fiber->line = line;
    release(block);
    if (++block->waiting == block->live) {
        release_barrier();
    } else {
        fiber->state = AT_BARRIER;
        yield();
    }
    acquire(block);
}

// Waits until every lane of the mask is here. Give the meeting back with leave().
UNSEEN inline Meeting* meet(unsigned mask, int operation, int line, uint64_t value)
{
    const Unseen unseen;
    Warp& warp = block->warps[fiber->warp];
    const unsigned bit = 1u << fiber->lane;
    const std::string where = "the warp collective of line " + std::to_string(line);
    if (!(mask & bit)) fail("a lane calls " + where + ", whose mask leaves it out");
    if (mask & ~warp.live) fail("the mask of " + where + " names a lane that has returned");
    Meeting* m = nullptr;
    for (Meeting* other : warp.open)
        if (other->mask & mask) m = other;
    if (!m) {
        if (block->spare.empty()) block->spare.push_back(new Meeting);
        m = block->spare.back();
        block->spare.pop_back();
        *m = Meeting{mask, 0, operation, line, 0, {}, new_token()};
        warp.open.push_back(m);
    }
    if (m->mask != mask || m->operation != operation || m->line != line)
        fail("lanes of one warp meet in different collectives, of lines " + std::to_string(m->line) + " and " +
             std::to_string(line));
    if (operation == SYNC) release(m->token);
    m->values[fiber->lane] = value;
    m->arrived |= bit;
    m->readers++;
    fiber->line = line;
    if (m->arrived == mask) {
        for (size_t i = 0; i < warp.open.size(); ++i)
            if (warp.open[i] == m) warp.open.erase(warp.open.begin() + i);
        for (unsigned rest = mask & ~bit; rest; rest &= rest - 1)
            block->fibers[fiber->warp * 32 + __builtin_ctz(rest)].state = READY;
    } else {
        fiber->state = IN_COLLECTIVE;
        yield();
    }
    if (operation == SYNC) acquire(m->token);
    return m;
}

UNSEEN inline void leave(Meeting* m)
{
    const Unseen unseen;
    if (--m->readers == 0) block->spare.push_back(m);
}

// Another thread may run between any two atomics.
UNSEEN inline void perhaps_switch()
{
    const Unseen unseen;
    if (block->launch->switch_at_atomics && next_random() % 4 == 0) yield();
}

UNSEEN inline void run_fiber()
{
#if EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &block->asan_bottom, &block->asan_size);
#endif
    block->kernel(block->arguments);
    release(&launch_token);
    Fiber& me = *fiber;
    Warp& warp = block->warps[me.warp];
    warp.live &= ~(1u << me.lane);
    for (Meeting* m : warp.open)
        if (m->mask & (1u << me.lane))
            fail("a thread returns while the warp collective of line " + std::to_string(m->line) + " waits for it");
    me.state = DONE;
    if (--block->live && block->waiting == block->live) release_barrier();
    for (;;) yield();
}

template <class T>
UNSEEN void shuffle(std::vector<T>& items)
{
    for (size_t n = items.size(); n > 1; --n) std::swap(items[n - 1], items[next_random() % n]);
}

template <class T>
UNSEEN void arrange(std::vector<T>& items, unsigned order)
{
    if (order == 1)
        for (size_t i = 0; i < items.size() / 2; ++i) std::swap(items[i], items[items.size() - 1 - i]);
    else if (order > 1)
        shuffle(items);
}

UNSEEN inline void run_block(Block& b, unsigned index)
{
    const unsigned n = b.launch->threads;
    b.index = {index, 0, 0};
    b.live = n;
    b.waiting = 0;
    b.stop = false;
    if (EMULATOR_TSAN && !EMULATOR_IN_ORDER)  // new memory, which no fiber of the block before has used
        mmap(b.stacks, n * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    b.fibers.resize(n);
    b.warps.assign((n + 31) / 32, {});
    if (b.shared) memset(b.shared, 0xA5, b.launch->shared_bytes);
    std::vector<unsigned> turn;
#if EMULATOR_ASAN
    for (unsigned i = 0; i < n; ++i)  // fibers of the block before did not return from their frames
        __asan_unpoison_memory_region(b.stacks + i * STACK_BYTES + PAGE, STACK_BYTES - PAGE);
#endif
    for (unsigned i = 0; i < n; ++i) {
        Fiber& f = b.fibers[i];
        f.index = {i, 0, 0};
        f.lane = i % 32;
        f.warp = i / 32;
        f.state = READY;
        f.asan_stack = nullptr;
        f.tsan = new_fiber();
        b.warps[f.warp].live |= 1u << f.lane;
        f.stack.begin(b.stacks + i * STACK_BYTES + PAGE, STACK_BYTES - PAGE, run_fiber);
        turn.push_back(i);
    }
    arrange(turn, b.launch->order == 1);
    while (b.live && !b.stop) {
        if (b.launch->order > 1) shuffle(turn);
        bool ran = false;
        for (unsigned i : turn)
            if (!b.stop && b.fibers[i].state == READY) {
                ran = true;
                resume(b.fibers[i]);
            }
        if (!ran && !b.stop) {
            b.error = "deadlock in block " + std::to_string(index) + ":";
            for (Fiber& f : b.fibers)
                if (f.state != DONE) {
                    b.error += " thread " + std::to_string(f.index.x) + " waits at line " + std::to_string(f.line) + ",";
                    if (b.error.size() > 200) break;
                }
            b.stop = true;
        }
    }
    for (Warp& w : b.warps)
        for (Meeting* m : w.open) b.spare.push_back(m);
    for (Fiber& f : b.fibers) end_fiber(f.tsan);
    if (EMULATOR_IN_ORDER) acquire(&launch_token);
}

// An access to an inaccessible page ends the launch, not the process.
inline sigjmp_buf outside;
UNSEEN inline void leave_by_signal(int) { siglongjmp(outside, 1); }

UNSEEN inline int run(const Launch& launch, void (*kernel)(void*), void* arguments, char* message, size_t size)
{
    Block b;
    block = &b;
    b.launch = &launch;
    b.kernel = kernel;
    b.arguments = arguments;
    b.tsan = this_fiber();
    b.dim = {launch.threads, 1, 1};
    b.grid = {launch.blocks, 1, 1};
    b.random = 0x9E3779B97F4A7C15ull * (launch.order + 1);
    const size_t stacks = launch.threads * STACK_BYTES;
    b.stacks = (char*)mmap(
        nullptr, stacks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (unsigned i = 0; i < launch.threads; ++i) mprotect(b.stacks + i * STACK_BYTES, PAGE, PROT_NONE);
    std::vector<unsigned> turn;
    for (unsigned i = 0; i < launch.blocks; ++i) turn.push_back(i);
    arrange(turn, launch.order);
    std::vector<char> shared(launch.shared_bytes + 16);
    if (launch.shared_bytes) b.shared = (char*)(((uintptr_t)shared.data() + 15) & ~(uintptr_t)15);
    struct sigaction action = {}, segv_before, bus_before;
    action.sa_handler = leave_by_signal;
    action.sa_flags = SA_NODEFER;
    if (!EMULATOR_ASAN) sigaction(SIGSEGV, &action, &segv_before), sigaction(SIGBUS, &action, &bus_before);
    if (sigsetjmp(outside, 1)) {
        b.error = "reads or writes far outside its arguments (block " + std::to_string(b.index.x) + ", thread " +
            std::to_string(fiber->index.x) + ")";
    } else {
        for (unsigned i : turn)
            if (b.error.empty()) run_block(b, i);
    }
    if (!EMULATOR_ASAN) sigaction(SIGSEGV, &segv_before, nullptr), sigaction(SIGBUS, &bus_before, nullptr);
#if EMULATOR_ASAN
    __asan_unpoison_memory_region(b.stacks, stacks);  // whatever is mapped there next is not a stack
#endif
    munmap(b.stacks, stacks);
    acquire(&launch_token);
    for (Meeting* m : b.spare) delete m;
    snprintf(message, size, "%s", b.error.c_str());
    return !b.error.empty();
}

// Calls a kernel with arguments given by address.
template <class... A>
struct Call {
    void (*kernel)(A...);
    void** arguments;
    template <size_t... I>
    UNSEEN void with(std::index_sequence<I...>)
    {
        kernel(*(std::remove_cv_t<A>*)arguments[I]...);
    }
    UNSEEN static void go(void* self) { ((Call*)self)->with(std::index_sequence_for<A...>{}); }
};

template <class... A>
UNSEEN int start(void (*kernel)(A...), const Launch& launch, void** arguments, char* message, size_t size)
{
    Call<A...> call{kernel, arguments};
    return run(launch, Call<A...>::go, &call, message, size);
}

// Warp collectives

template <class T>
UNSEEN uint64_t pack(T value)
{
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T>
UNSEEN T shuffled(unsigned mask, T value, unsigned source, bool in_range, int line)
{
    Meeting* m = meet(mask, SHUFFLE, line, pack(value));
    const bool present = m->mask >> source & 1;
    T result = value;
    if (in_range && present) memcpy(&result, &m->values[source], sizeof result);
    leave(m);
    if (in_range && !present) fail("the shuffle of line " + std::to_string(line) + " reads a lane outside its mask");
    return result;
}

UNSEEN inline unsigned ballot(unsigned mask, bool predicate, int line)
{
    Meeting* m = meet(mask, BALLOT, line, predicate);
    unsigned bits = 0;
    for (unsigned rest = m->mask; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        bits |= (unsigned)(m->values[lane] != 0) << lane;
    }
    leave(m);
    return bits;
}

template <class T, class F>
T atomic(T* at, F change)
{
    perhaps_switch();
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);  // fibers share one OS thread: nothing comes between
    __atomic_store_n(at, change(old), __ATOMIC_RELAXED);
    return old;
}

template <class T>
using Same = std::type_identity_t<T>;

#if EMULATOR_TSAN
#define OF_THE_EMULATOR UNSEEN __attribute__((noinline)) inline
#else
#define OF_THE_EMULATOR inline
#endif
OF_THE_EMULATOR Index3 thread_index() { return fiber->index; }
OF_THE_EMULATOR Index3 block_index() { return block->index; }
OF_THE_EMULATOR Index3 block_size() { return block->dim; }
OF_THE_EMULATOR unsigned lane() { return fiber->lane; }
OF_THE_EMULATOR unsigned live() { return block->warps[fiber->warp].live; }

}  // namespace emulator

#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
#define blockDim (::emulator::block_size())

#define __syncthreads() ::emulator::barrier(__LINE__)
#define __syncwarp() ::emulator::leave(::emulator::meet(::emulator::live(), ::emulator::SYNC, __LINE__, 0))
#define __ballot_sync(mask, predicate) ::emulator::ballot(mask, (bool)(predicate), __LINE__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, predicate) == (mask))
#define __shfl_sync(mask, value, source) ::emulator::shuffled(mask, value, (source) & 31, true, __LINE__)
#define EMULATOR_LANE ::emulator::lane()
#define __shfl_up_sync(mask, value, by) \
    ::emulator::shuffled(mask, value, (EMULATOR_LANE - (by)) & 31, EMULATOR_LANE >= (unsigned)(by), __LINE__)
#define __shfl_down_sync(mask, value, by) \
    ::emulator::shuffled(mask, value, (EMULATOR_LANE + (by)) & 31, EMULATOR_LANE + (by) < 32, __LINE__)
#define __shfl_xor_sync(mask, value, bits) ::emulator::shuffled(mask, value, EMULATOR_LANE ^ (bits), true, __LINE__)

template <class T>
T atomicAdd(T* at, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T old) { return T(old + value); });
}
template <class T>
T atomicMin(T* at, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicMax(T* at, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicOr(T* at, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T old) { return T(old | value); });
}
template <class T>
T atomicExch(T* at, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* at, emulator::Same<T> expected, emulator::Same<T> value)
{
    return emulator::atomic(at, [=](T old) { return old == expected ? value : old; });
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
    const uint64_t bytes = (uint64_t)y << 32 | x;
    unsigned result = 0;
    for (int k = 0; k < 4; ++k) result |= (unsigned)(bytes >> 8 * (selector >> 4 * k & 7) & 0xFF) << 8 * k;
    return result;
}
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
