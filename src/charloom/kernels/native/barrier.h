/* A barrier: threads that share a pass wait for each other after every product.
 *
 * The count only grows: every thread adds one and goes on when the count shows that all have arrived. A waiting thread
 * polls for some microseconds and then gives its core away at each turn, so that a busy machine is slow but never stuck.
 */
#ifndef BARRIER_H
#define BARRIER_H

#if defined(_WIN32)
__declspec(dllimport) int __stdcall SwitchToThread(void);
static inline void give_way(void) { SwitchToThread(); }
#elif defined(__wasm__)
static inline void give_way(void) {}
#else
#include <sched.h>
static inline void give_way(void) { sched_yield(); }
#endif

enum { SPINS = 4096 };

/* Return when all threads of the context have met for the next time. */
static inline void meet(ThreadContext *context)
{
    context->waited++;
    if (context->parts == 1)
        return;
    __atomic_add_fetch(context->arrived, 1, __ATOMIC_SEQ_CST);
    for (int spins = 0; __atomic_load_n(context->arrived, __ATOMIC_SEQ_CST) < context->parts * context->waited;)
        if (spins++ > SPINS)
            give_way();
}

#endif
