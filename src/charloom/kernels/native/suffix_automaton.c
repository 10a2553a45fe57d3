/* Substrings of a short text that occur in a long one: see suffix_automaton.py, which has the equations (1) to (3).
 *
 * A state v represents substrings of the short text with the same end positions; the longest has length[v] symbols.
 * edges (states, num_columns) has −1 where there is no edge.
 */

/* Add the symbols one by one; write the state of each prefix to `prefix`; return the number of states. */
EXPORT int64_t FN(automaton_build)(
    const int32_t *columns, int64_t n, int64_t num_columns, int32_t *length, int32_t *link, int32_t *edges,
    int32_t *prefix)
{
    int32_t num_states = 1, last = 0;
    link[0] = -1;
    for (int64_t i = 0; i < n; i++) {
        int32_t c = columns[i], new = num_states++, v = last;
        length[new] = (int32_t)i + 1;
        for (; v >= 0 && edges[v * num_columns + c] < 0; v = link[v])
            edges[v * num_columns + c] = new;
        if (v >= 0) {
            int32_t u = edges[v * num_columns + c];
            if (length[u] > length[v] + 1) { /* u's longer substrings end at fewer positions: split them off */
                int32_t clone = num_states++;
                length[clone] = length[v] + 1;
                link[clone] = link[u];
                memcpy(
                    edges + clone * num_columns, edges + u * num_columns, (size_t)num_columns * sizeof(int32_t));
                for (; v >= 0 && edges[v * num_columns + c] == u; v = link[v])
                    edges[v * num_columns + c] = clone;
                link[u] = clone;
                u = clone;
            }
            link[new] = u;
        }
        prefix[i] = new;
        last = new;
    }
    return num_states;
}

/* Equation (1) over one piece of the long text; updates `at`, which is (v, l, symbols read). */
EXPORT void FN(automaton_read)(
    const int32_t *columns, int64_t n, int64_t num_columns, const int32_t *length, const int32_t *link,
    const int32_t *edges, int32_t *best, int64_t *end, int64_t *seen, int64_t *at)
{
    int64_t v = at[0], l = at[1], position = at[2];
    for (int64_t i = 0; i < n; i++) {
        int32_t c = columns[i];
        position++;
        if (c < 0) { /* not in the short text */
            v = l = 0;
            continue;
        }
        while (edges[v * num_columns + c] < 0) { /* the root has an edge for each symbol */
            v = link[v];
            l = length[v];
        }
        v = edges[v * num_columns + c];
        l++;
        if (l > best[v]) {
            if (best[v] == 0)
                seen[v] = position;
            best[v] = (int32_t)l;
            end[v] = position;
        }
    }
    at[0] = v;
    at[1] = l;
    at[2] = position;
}

/* Equations (2) and (3) over the n states except the root; `order` has the longest first. */
EXPORT void FN(automaton_spread)(
    const int32_t *order, int64_t n, const int32_t *length, const int32_t *link, int32_t *best, int64_t *end,
    int64_t *seen)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t v = order[i], u = link[v];
        if (best[v] == 0 || u <= 0)
            continue;
        if (best[u] < length[u]) {
            best[u] = length[u];
            end[u] = seen[v];
        } else if (seen[v] < end[u])
            end[u] = seen[v];
        if (seen[v] < seen[u])
            seen[u] = seen[v];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        int32_t v = order[i];
        if (best[v] == 0) {
            best[v] = best[link[v]];
            end[v] = end[link[v]];
        }
    }
}
