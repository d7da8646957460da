/* upstream: a stand-in for a model's server, cheap enough never to be the bottleneck (one thread, epoll, keep-alive).
 *
 *     upstream PORT
 *
 *     POST .../chat/completions    an answer as OpenAI and OpenRouter give it
 *     POST .../messages            an answer as Anthropic gives it, so that a proxy that converts nothing can be measured
 *     GET  anything                a model list with counters: requests, streams, deltas, connections
 *
 * "stream":true in the body asks for server-sent events. The model's name says what the answer is like; a prefix such
 * as "openai/" does not matter:
 *
 *     stream-N    N text deltas                       -dMS      MS milliseconds between deltas (none: all at once)
 *     tool-N      one tool call, N argument deltas    -fMS      MS milliseconds before the first byte
 *     reason-N    N reasoning deltas, then N of text  -mark     every delta carries the mark that the request holds
 *     status-NNN  that HTTP status and an error
 *
 * Each answer has new ids, as on real servers, so that a proxy cannot reuse an earlier conversion.
 *
 * A delta is '@' and ten hexadecimal digits, the microsecond of CLOCK_MONOTONIC at which it was made, so that `load`
 * can measure how long it was on its way; with -mark also '#' and the eight characters after "mark:" in the request.
 * A request costs about 6 us of CPU, a delta 0.3 us in a burst and 15 us when paced (one send each).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BITS 0xffffffffffUL /* ten hexadecimal digits */
#define MARK_LENGTH 8
#define ID_LENGTH 20
#define BIG_BUFFER (1 << 20) /* a connection gives a larger one back after each request */

/* ---- bytes that grow ---- */

typedef struct {
    char *at;
    size_t len, cap;
} Bytes;

static void bytes_reserve(Bytes *b, size_t more) {
    if (b->len + more <= b->cap) return;
    size_t cap = b->cap ? b->cap : 1024;
    while (cap < b->len + more) cap *= 2;
    if (!(b->at = realloc(b->at, cap))) abort();
    b->cap = cap;
}

static void bytes_add(Bytes *b, const char *s, size_t n) {
    bytes_reserve(b, n);
    memcpy(b->at + b->len, s, n);
    b->len += n;
}

static void bytes_addf(Bytes *b, const char *format, ...) {
    char text[8192];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bytes_add(b, text, n);
}

static void bytes_free(Bytes *b) {
    free(b->at);
    *b = (Bytes){0};
}

/* ---- connections, and those of them that wait for a moment (a heap by `due`) ---- */

typedef struct {
    bool chat, streamed, tool, reasoning;
    int deltas, status;
    long pace_us, first_us;
    char mark[MARK_LENGTH + 2]; /* '#' and the mark, or empty */
} Script;

typedef struct {
    int fd;
    Bytes in, out;
    size_t out_sent;
    bool wants_write, answering;
    Script script;
    char id[ID_LENGTH + 1]; /* of the answer */
    int done;  /* deltas made so far */
    long due;  /* when the next piece is to go */
    int place; /* in the heap, -1: not there */
} Conn;

static int poller;
static Conn **heap;
static int heap_len, heap_cap;
static long requests, streams, deltas, connections;

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void heap_put(int i, Conn *c) {
    heap[i] = c;
    c->place = i;
}

static void heap_up(int i, Conn *c) {
    for (; i && heap[(i - 1) / 2]->due > c->due; i = (i - 1) / 2) heap_put(i, heap[(i - 1) / 2]);
    heap_put(i, c);
}

static void heap_down(int i, Conn *c) {
    for (int child; (child = 2 * i + 1) < heap_len; i = child) {
        if (child + 1 < heap_len && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap_put(i, heap[child]);
    }
    heap_put(i, c);
}

static void wait_until_due(Conn *c) {
    if (c->place < 0) {
        if (heap_len == heap_cap) {
            heap_cap = heap_cap ? heap_cap * 2 : 256;
            if (!(heap = realloc(heap, heap_cap * sizeof *heap))) abort();
        }
        heap_up(heap_len++, c);
    } else {
        heap_down(c->place, c); /* `due` only ever grows */
    }
}

static void wait_no_more(Conn *c) {
    if (c->place < 0) return;
    int hole = c->place;
    Conn *last = heap[--heap_len];
    c->place = -1;
    if (last == c) return;
    heap_up(hole, last);
    heap_down(last->place, last);
}

static void hang_up(Conn *c) {
    wait_no_more(c);
    close(c->fd);
    bytes_free(&c->in);
    bytes_free(&c->out);
    free(c);
    connections--;
}

static void watch(Conn *c, bool writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    c->wants_write = writable;
}

/* Send the pending bytes. False: the connection is closed. */
static bool flush(Conn *c) {
    while (c->out_sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.at + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) return false;
            if (!c->wants_write) watch(c, true);
            return true;
        }
        c->out_sent += n;
    }
    c->out.len = c->out_sent = 0;
    if (c->wants_write) watch(c, false);
    return true;
}

/* ---- answers ---- */

static void event(Conn *c, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bytes_addf(&c->out, "%x\r\n", n);
    bytes_add(&c->out, text, n);
    bytes_add(&c->out, "\r\n", 2);
}

/* Each of these takes the answer's id. */
#define CHAT_ID "\"id\":\"gen-1763800000-%s\",\"provider\":\"StandIn\",\"model\":\"stand-in/model\","
#define CHUNK "data: {" CHAT_ID "\"object\":\"chat.completion.chunk\",\"created\":1763800000,\"choices\":"
#define CHUNK_DELTA CHUNK "[{\"index\":0,\"delta\":{"
#define CHUNK_DELTA_END "},\"finish_reason\":null,\"native_finish_reason\":null,\"logprobs\":null}]}\n\n"
#define CALL "\"tool_calls\":[{\"index\":0,\"id\":\"call_%s\",\"type\":\"function\",\"function\":"

static void chat_head(Conn *c) { event(c, ": OPENROUTER PROCESSING\n\n"); }

static void chat_delta(Conn *c, const char *text) {
    int i = c->done;
    if (c->script.tool) {
        if (i == 0)
            event(c, CHUNK_DELTA "\"role\":\"assistant\",\"content\":null," CALL
                     "{\"name\":\"Tool0\",\"arguments\":\"\"}}]" CHUNK_DELTA_END, c->id, c->id);
        event(c, CHUNK_DELTA "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"%s%s%s\"}}]" CHUNK_DELTA_END,
              c->id, i == 0 ? "{\\\"param_0\\\":\\\"" : "", text, i == c->script.deltas - 1 ? "\\\"}" : "");
    } else if (c->script.reasoning && i < c->script.deltas / 2) {
        event(c, CHUNK_DELTA "\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"%s\",\"reasoning_details\":["
                 "{\"type\":\"reasoning.text\",\"text\":\"%s\",\"format\":\"unknown\",\"index\":0}]" CHUNK_DELTA_END,
              c->id, text, text);
    } else {
        event(c, CHUNK_DELTA "\"role\":\"assistant\",\"content\":\"%s\"" CHUNK_DELTA_END, c->id, text);
    }
}

static void chat_tail(Conn *c) {
    const char *reason = c->script.tool ? "tool_calls" : "stop";
    event(c, CHUNK "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"%s\","
                   "\"native_finish_reason\":\"%s\",\"logprobs\":null}]}\n\n", c->id, reason, reason);
    event(c, CHUNK "[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%d,\"total_tokens\":%d,"
                   "\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\n", c->id, c->script.deltas, c->script.deltas + 10);
    event(c, "data: [DONE]\n\n");
}

static void messages_head(Conn *c) {
    event(c, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01%s\",\"type\":"
             "\"message\",\"role\":\"assistant\",\"model\":\"stand-in\",\"content\":[],\"stop_reason\":null,"
             "\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n", c->id);
    char block[128] = "{\"type\":\"text\",\"text\":\"\"}";
    if (c->script.tool)
        snprintf(block, sizeof block, "{\"type\":\"tool_use\",\"id\":\"toolu_01%s\",\"name\":\"Tool0\",\"input\":{}}", c->id);
    event(c, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":%s}\n\n",
          block);
}

static void messages_delta(Conn *c, const char *text) {
    const char *before = "", *after = "";
    if (c->script.tool && c->done == 0) before = "{\\\"param_0\\\":\\\"";
    if (c->script.tool && c->done == c->script.deltas - 1) after = "\\\"}";
    event(c, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
             "{\"type\":\"%s\",\"%s\":\"%s%s%s\"}}\n\n",
          c->script.tool ? "input_json_delta" : "text_delta", c->script.tool ? "partial_json" : "text", before, text, after);
}

static void messages_tail(Conn *c) {
    event(c, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    event(c, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\","
             "\"stop_sequence\":null},\"usage\":{\"output_tokens\":%d}}\n\n",
          c->script.tool ? "tool_use" : "end_turn", c->script.deltas);
    event(c, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void add_delta(Conn *c) {
    char text[64];
    snprintf(text, sizeof text, "@%010lx%s ", now_us() & STAMP_BITS, c->script.mark);
    (c->script.chat ? chat_delta : messages_delta)(c, text);
    c->done++;
    deltas++;
}

/* The header up to its last lines. Anthropic names the request in it. */
static void add_head(Conn *c, int status, const char *type) {
    bytes_addf(&c->out, "HTTP/1.1 %d Status\r\nContent-Type: %s\r\n", status, type);
    if (!c->script.chat) bytes_addf(&c->out, "request-id: req_01%s\r\n", c->id);
}

static void add_json(Conn *c, int status, const char *body) {
    add_head(c, status, "application/json");
    bytes_addf(&c->out, "Content-Length: %zu\r\n\r\n", strlen(body));
    bytes_add(&c->out, body, strlen(body));
}

static const char PROSE[] =
    "The gateway converts the request, forwards it to the upstream, and converts the answer back. This text stands in "
    "for what a model would have said; it is long enough to be a usual short answer. ";

static void add_whole_answer(Conn *c) {
    char body[8192], text[1024], call[256] = "";
    snprintf(text, sizeof text, "%s%s%s%s", c->script.mark, PROSE, PROSE, PROSE);
    if (c->script.tool)
        snprintf(call, sizeof call, "," CALL "{\"name\":\"Tool0\",\"arguments\":\"{\\\"param_0\\\":\\\"x\\\"}\"}}]", c->id);
    if (c->script.status != 200)
        snprintf(body, sizeof body, "{\"error\":{\"message\":\"as asked for\",\"type\":\"stand_in\",\"code\":%d}}",
                 c->script.status);
    else if (c->script.chat)
        snprintf(body, sizeof body,
                 "{" CHAT_ID "\"object\":\"chat.completion\",\"created\":1763800000,\"choices\":[{\"logprobs\":null,"
                 "\"finish_reason\":\"%s\",\"native_finish_reason\":\"%s\",\"index\":0,\"message\":{\"role\":"
                 "\"assistant\",\"content\":\"%s\",\"refusal\":null,\"reasoning\":null%s}}],\"usage\":{"
                 "\"prompt_tokens\":10,\"completion_tokens\":150,\"total_tokens\":160,"
                 "\"prompt_tokens_details\":{\"cached_tokens\":0}}}",
                 c->id, c->script.tool ? "tool_calls" : "stop", c->script.tool ? "tool_calls" : "stop", text, call);
    else
        snprintf(body, sizeof body,
                 "{\"id\":\"msg_01%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"stand-in\",\"content\":"
                 "[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
                 "\"usage\":{\"input_tokens\":10,\"output_tokens\":150}}", c->id, text);
    add_json(c, c->script.status, body);
}

/* Send the bytes that are due now and set the time of the next piece. False: the connection is closed. */
static bool advance(Conn *c) {
    Script *s = &c->script;
    if (!s->streamed) {
        add_whole_answer(c);
    } else {
        if (c->done == 0) {
            add_head(c, 200, "text/event-stream");
            bytes_addf(&c->out, "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
            (s->chat ? chat_head : messages_head)(c);
        }
        do add_delta(c);
        while (!s->pace_us && c->done < s->deltas);
        if (c->done < s->deltas) { /* the first gap is random, so that many streams do not beat as one */
            c->due += c->done == 1 ? 1 + rand() % s->pace_us : s->pace_us;
            wait_until_due(c);
            return flush(c);
        }
        (s->chat ? chat_tail : messages_tail)(c);
        bytes_add(&c->out, "0\r\n\r\n", 5);
    }
    c->answering = false;
    wait_no_more(c);
    return flush(c);
}

/* ---- requests ---- */

static long number_after(const char *name, size_t len, const char *key, long otherwise) {
    const char *p = memmem(name, len, key, strlen(key));
    return p ? atol(p + strlen(key)) : otherwise;
}

static bool has(const char *text, size_t len, const char *key) { return memmem(text, len, key, strlen(key)) != NULL; }

static Script script_of(const char *line, const char *body, size_t len) {
    const char *line_end = strstr(line, "\r\n"), *model = memmem(body, len, "\"model\"", 7);
    size_t n = 0;
    if (model && (model = memchr(model + 7, '"', body + len - model - 7))) {
        const char *quote = memchr(model + 1, '"', body + len - model - 1);
        if (quote) n = quote - ++model;
    }
    if (!n) model = "";
    Script s = {
        .chat = !has(line, line_end - line, "/messages"),
        .streamed = has(body, len, "\"stream\":true") || has(body, len, "\"stream\": true"),
        .tool = has(model, n, "tool-"),
        .reasoning = has(model, n, "reason-"),
        .status = number_after(model, n, "status-", 200),
        .pace_us = number_after(model, n, "-d", 0) * 1000,
        .first_us = number_after(model, n, "-f", 0) * 1000,
    };
    s.deltas = s.reasoning ? 2 * number_after(model, n, "reason-", 0)
                           : number_after(model, n, s.tool ? "tool-" : "stream-", 20);
    if (s.status != 200) s.streamed = false;
    const char *mark = has(model, n, "-mark") ? memmem(body, len, "mark:", 5) : NULL;
    if (mark && mark + 5 + MARK_LENGTH <= body + len) snprintf(s.mark, sizeof s.mark, "#%s", mark + 5);
    return s;
}

/* A new id: letters and digits without a pattern, the same in every run. */
static void renew_id(Conn *c) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static unsigned long state;
    for (int i = 0; i < ID_LENGTH; i++) {
        state = state * 6364136223846793005UL + 1442695040888963407UL;
        c->id[i] = digits[(state >> 33) % 62];
    }
}

static bool answer(Conn *c, const char *line, const char *body, size_t len) {
    requests++;
    if (line[0] != 'P') {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"object\":\"list\",\"requests\":%ld,\"streams\":%ld,\"deltas\":%ld,\"connections\":%ld,\"data\":["
                 "{\"id\":\"stand-in\",\"object\":\"model\",\"created\":1,\"owned_by\":\"stand-in\"}]}",
                 requests, streams, deltas, connections);
        add_json(c, 200, text);
        return flush(c);
    }
    c->script = script_of(line, body, len);
    renew_id(c);
    c->done = 0;
    c->answering = true;
    c->due = now_us() + c->script.first_us;
    streams += c->script.streamed;
    if (!c->script.first_us) return advance(c);
    wait_until_due(c);
    return true;
}

/* Join a chunked body in place. Returns the bytes it took up with its framing, 0 when it is not all there yet. */
static size_t join_chunks(char *body, size_t have, size_t *len) {
    char *from = body, *end = body + have;
    for (bool first_pass = true;; first_pass = false) { /* look whether it is complete, then move */
        from = body;
        *len = 0;
        for (;;) {
            char *line = memmem(from, end - from, "\r\n", 2);
            if (!line) return 0;
            size_t n = strtoul(from, NULL, 16);
            from = line + 2;
            if ((size_t)(end - from) < n + 2) return 0;
            if (!n) break;
            if (!first_pass) memmove(body + *len, from, n);
            *len += n;
            from += n + 2;
        }
        if (!first_pass) return from + 2 - body;
    }
}

/* Answer the request at the front of `in`, if it is all there. False: the connection is closed. `took`: bytes used up. */
static bool take_request(Conn *c, size_t *took) {
    char *start = c->in.at, *head_end = memmem(start, c->in.len, "\r\n\r\n", 4);
    *took = 0;
    if (!head_end) return true;
    char *body = head_end + 4;
    size_t have = start + c->in.len - body, len = 0, framed;
    bool chunked = false, expects = false;
    *head_end = 0;
    for (char *line = strstr(start, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) len = strtoul(line + 17, NULL, 10);
        if (!strncasecmp(line + 2, "transfer-encoding:", 18)) chunked = true;
        if (!strncasecmp(line + 2, "expect:", 7)) expects = true;
    }
    *head_end = '\r';
    if (expects && !have) send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    framed = chunked ? join_chunks(body, have, &len) : len;
    if (chunked ? !framed : have < len) return true;
    *took = body - start + framed;
    return answer(c, start, body, len);
}

static bool read_requests(Conn *c) {
    static char piece[1 << 18];
    for (ssize_t n = sizeof piece; n == sizeof piece;) {
        n = recv(c->fd, piece, sizeof piece, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
        if (n > 0) bytes_add(&c->in, piece, n);
    }
    while (c->in.len && !c->answering) {
        size_t took;
        bytes_reserve(&c->in, 1);
        c->in.at[c->in.len] = 0; /* a stop for the string functions */
        if (!take_request(c, &took)) return false;
        if (!took) break;
        memmove(c->in.at, c->in.at + took, c->in.len - took);
        c->in.len -= took;
        if (!c->in.len && c->in.cap > BIG_BUFFER) bytes_free(&c->in);
    }
    return true;
}

/* ---- the loop ---- */

static void accept_all(int listener) {
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        Conn *c = calloc(1, sizeof *c);
        if (!c) abort();
        c->fd = fd;
        c->place = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
        connections++;
    }
}

static void serve(Conn *c, unsigned events) {
    bool alive = !(events & (EPOLLERR | EPOLLHUP));
    if (alive && events & EPOLLOUT) alive = flush(c);
    if (alive && events & EPOLLIN) alive = read_requests(c);
    if (!alive) hang_up(c);
}

static int milliseconds_to_next(void) {
    if (!heap_len) return -1;
    long left = heap[0]->due - now_us();
    return left <= 0 ? 0 : (left + 999) / 1000;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return perror("upstream"), 1;
    poller = epoll_create1(0);
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(poller, events, 256, milliseconds_to_next());
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
        for (long now = now_us(); heap_len && heap[0]->due <= now;) {
            Conn *c = heap[0];
            if (c->due < now - 100000) c->due = now; /* after a stall, do not catch up in a burst */
            if (!advance(c)) hang_up(c);
        }
    }
}
