/* load: a closed-loop HTTP/1.1 load generator for LLM gateways (one thread, epoll).
 *
 *     load -p PORT[,PORT...] -b BODY_FILE [options]       prints one JSON object
 *
 *     -u PATH         /v1/messages                        -c N     connections (1), dealt out over the ports
 *     -H 'Name: v'    a header, may be repeated           -o RATE  open at most RATE connections a second (all at once)
 *     -e TEXT         what every sound answer holds       -n N     end after N requests (none: when the time is over)
 *     -w SECONDS      warm up, not counted (1)            -d SECONDS  count (5)
 *     -P PID,PID...   processes to count the CPU of       -D N     deltas that every sound answer has
 *     -m              write its own mark into every request, where the body has "mark:00000000", and look for it
 *                     in every delta of its answer        -v       show the first answer on stderr
 *     -t              the turns of a conversation: one body a line, sent in this order and from the start again; the
 *                     "mark:00000000" of each becomes the conversation's number
 *
 * Each connection sends the next request as soon as it has the whole answer to the last. An answer is sound when its
 * status is 200 and it holds what -e and -D ask for. A delta is '@' and ten hexadecimal digits, the microsecond of
 * CLOCK_MONOTONIC at which the upstream stand-in made it, and with -m '#' and the mark. Times are in microseconds,
 * -1 where there was nothing to measure. CPU is user and system time of all threads of the processes between the
 * first and the last counted moment.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_BITS 0xffffffffffUL
#define STAMP_DIGITS 10
#define MARK_DIGITS 8
#define HEAD_MOST 8192
#define EXPECT_MOST 64
#define PORTS_MOST 16

typedef struct {
    long *at;
    size_t len, cap;
} Samples;

/* Where in an answer the next byte belongs. */
typedef enum { HEAD, SIZED, TO_THE_END, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER } Place;

/* What the scan for deltas looks for next: an '@', the digits of a stamp, the '#' of a mark, its digits. */
typedef enum { SEEK, STAMP, HASH, MARK } Scan;

/* A request as it is sent. `mark`: its eight digits in `bytes`, with -m or -t. */
typedef struct {
    char *bytes, *mark;
    size_t len;
} Request;

typedef struct {
    int fd;
    struct sockaddr_in to;
    bool wants_write;
    Request *requests; /* shared by all, or its own with -m or -t */
    int turn;          /* which of them is sent now */
    size_t sent;
    long started, first_byte; /* 0: no byte of a body yet */
    Place place;
    int status;
    bool hangs_up, found;
    long left; /* bytes of the body or of the chunk */
    char head[HEAD_MOST];
    size_t head_len;
    char line[20]; /* a chunk's size, or what a line of the trailer starts with */
    size_t line_len;
    char tail[EXPECT_MOST]; /* the end of the last piece: what is expected may straddle two */
    size_t tail_len;
    Scan scan;
    int digits;
    unsigned long stamp, last_stamp, seen_mark, mark;
    long deltas;
} Conn;

static struct {
    const char *path, *body_file, *expect, *pids;
    int ports[PORTS_MOST], port_count, connections;
    double warm, seconds, open_rate;
    long requests, deltas_each;
    bool marks, turns, verbose;
    char headers[HEAD_MOST];
} option = {.path = "/v1/messages", .connections = 1, .warm = 1, .seconds = 5};

static struct {
    long answers, bad, short_answers, deltas, foreign, disordered, bytes, reconnects, statuses[600];
    Samples latency, first_byte, delay;
} count;

static int poller;
static Request *requests;
static int request_count;
static size_t expect_len;
static bool counting;
static long started;

/* ---- small things ---- */

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void sample(Samples *s, long value) {
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 65536;
        if (!(s->at = realloc(s->at, s->cap * sizeof *s->at))) abort();
    }
    s->at[s->len++] = value;
}

static int ascending(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static long quantile(const Samples *sorted, double q) { return sorted->len ? sorted->at[(size_t)(q * (sorted->len - 1))] : -1; }

/* Seconds of CPU that a process's threads have used, to the nanosecond. */
static double cpu_of_process(const char *pid) {
    char path[300];
    double total = 0;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    if (!threads) return 0;
    for (struct dirent *entry; (entry = readdir(threads));) {
        unsigned long nanoseconds;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%lu", &nanoseconds) == 1) total += nanoseconds / 1e9;
        fclose(file);
    }
    closedir(threads);
    return total;
}

static double cpu_of_processes(const char *list) {
    if (!list) return 0;
    char *copy = strdup(list), *rest = copy, *pid;
    double total = 0;
    while ((pid = strsep(&rest, ","))) total += cpu_of_process(pid);
    free(copy);
    return total;
}

static double own_cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- sending ---- */

static void watch(Conn *c, bool writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    c->wants_write = writable;
}

static void send_rest(Conn *c) {
    const Request *request = &c->requests[c->turn];
    while (c->sent < request->len) {
        ssize_t n = send(c->fd, request->bytes + c->sent, request->len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN && !c->wants_write) watch(c, true);
            return; /* an error shows in the next read */
        }
        c->sent += n;
    }
    if (c->wants_write) watch(c, false);
}

static void dial(Conn *c) {
    int one = 1;
    if (c->fd >= 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) exit((perror("load: socket"), 2));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (void *)&c->to, sizeof c->to);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    c->wants_write = true;
}

static void clear(Conn *c) {
    c->place = HEAD;
    c->scan = SEEK;
    c->status = 0;
    c->hangs_up = c->found = false;
    c->sent = c->head_len = c->line_len = c->tail_len = 0;
    c->deltas = c->last_stamp = c->first_byte = 0;
    c->started = now_us();
}

/* Make ready for the next request, with its mark. False: all have been started. */
static bool next_request(Conn *c) {
    if (option.requests && started >= option.requests) return false;
    started++;
    clear(c);
    c->turn = (c->turn + 1) % request_count;
    if (option.marks || option.turns) {
        char digits[MARK_DIGITS + 1];
        if (c->turn == 0) c->mark = started;
        snprintf(digits, sizeof digits, "%08lx", c->mark & 0xffffffffUL);
        memcpy(c->requests[c->turn].mark, digits, MARK_DIGITS);
    }
    return true;
}

/* ---- answers ---- */

static void finish(Conn *c, bool whole) {
    bool complete = !option.deltas_each || c->deltas == option.deltas_each;
    bool good = whole && complete && c->status == 200 && (c->found || !option.expect);
    if (counting) {
        count.answers += good;
        count.bad += !good;
        count.short_answers += !complete;
        if (c->status > 0 && c->status < 600) count.statuses[c->status]++;
        if (good) sample(&count.latency, now_us() - c->started);
        if (good && c->first_byte) sample(&count.first_byte, c->first_byte - c->started);
    }
    if (option.verbose) fprintf(stderr, "\n-- status %d, %s\n", c->status, good ? "sound" : "not sound");
    option.verbose = false;
    bool hangs_up = c->hangs_up;
    if (!next_request(c)) {
        close(c->fd);
        c->fd = -1;
    } else if (hangs_up) {
        count.reconnects += counting;
        dial(c);
    } else {
        send_rest(c);
    }
}

static void look_for_expected(Conn *c, const char *p, size_t n) {
    char joint[2 * EXPECT_MOST];
    size_t some = n < expect_len ? n : expect_len, keep = n < EXPECT_MOST ? n : EXPECT_MOST;
    memcpy(joint, c->tail, c->tail_len);
    memcpy(joint + c->tail_len, p, some);
    c->found = memmem(joint, c->tail_len + some, option.expect, expect_len) || memmem(p, n, option.expect, expect_len);
    size_t old = c->tail_len + keep > EXPECT_MOST ? EXPECT_MOST - keep : c->tail_len;
    memmove(c->tail, c->tail + c->tail_len - old, old);
    memcpy(c->tail + old, p + n - keep, keep);
    c->tail_len = old + keep;
}

static void count_delta(Conn *c, long now) {
    c->scan = SEEK;
    c->deltas++;
    if (!counting) return;
    count.deltas++;
    count.foreign += option.marks && c->seen_mark != c->mark;
    count.disordered += c->stamp < c->last_stamp;
    c->last_stamp = c->stamp;
    sample(&count.delay, ((unsigned long)now - c->stamp) & STAMP_BITS);
}

static int digit_of(char ch) { return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1; }

static void scan_deltas(Conn *c, const char *p, size_t n, long now) {
    for (const char *end = p + n; p < end; p++) {
        int digit = digit_of(*p);
        switch (c->scan) {
        case SEEK:
            if (!(p = memchr(p, '@', end - p))) return;
            c->scan = STAMP;
            c->digits = 0;
            c->stamp = 0;
            break;
        case STAMP:
            if (digit < 0) {
                c->scan = SEEK;
                break;
            }
            c->stamp = c->stamp * 16 + digit;
            if (++c->digits < STAMP_DIGITS) break;
            if (option.marks) c->scan = HASH;
            else count_delta(c, now);
            break;
        case HASH:
            c->seen_mark = c->digits = 0;
            c->scan = MARK;
            if (*p != '#') count_delta(c, now); /* no mark is a wrong mark */
            break;
        case MARK:
            c->seen_mark = c->seen_mark * 16 + (digit < 0 ? 0 : digit);
            if (++c->digits == MARK_DIGITS) count_delta(c, now);
            break;
        }
    }
}

static void take_body(Conn *c, const char *p, size_t n, long now) {
    if (!n) return;
    if (option.verbose) fwrite(p, 1, n, stderr);
    if (!c->first_byte) c->first_byte = now;
    if (option.expect && !c->found) look_for_expected(c, p, n);
    if (counting) count.bytes += n;
    scan_deltas(c, p, n, now);
}

/* Where the body starts, from the complete head. */
static Place place_after_head(Conn *c) {
    Place place = TO_THE_END;
    c->status = atoi(c->head + 9);
    for (char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) {
            place = SIZED;
            c->left = atol(line + 17);
        } else if (!strncasecmp(line + 2, "transfer-encoding: chunked", 26)) {
            place = CHUNK_SIZE;
        } else if (!strncasecmp(line + 2, "connection: close", 17)) {
            c->hangs_up = true;
        }
    }
    if (option.verbose) fprintf(stderr, "%s\n\n", c->head);
    return place;
}

/* Take bytes of the head. Returns how many belonged to it; what follows is the body. */
static size_t take_head(Conn *c, const char *p, size_t n) {
    size_t old = c->head_len, room = HEAD_MOST - 1 - old, some = n < room ? n : room;
    memcpy(c->head + old, p, some);
    c->head_len += some;
    c->head[c->head_len] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return some;
    size_t used = end + 4 - c->head - old;
    *end = 0;
    c->place = place_after_head(c);
    if (c->status == 100) {
        c->place = HEAD;
        c->head_len = 0;
    }
    return used;
}

/* Take one byte of a line outside the body: a chunk's size, or a line of the trailer. True: the answer is over. */
static bool take_line_byte(Conn *c, char ch) {
    if (ch != '\n') {
        if (ch != '\r' && c->line_len < sizeof c->line - 1) c->line[c->line_len++] = ch;
        return false;
    }
    c->line[c->line_len] = 0;
    bool empty = c->line_len == 0;
    c->line_len = 0;
    if (c->place == TRAILER) return empty;
    c->left = strtol(c->line, NULL, 16);
    c->place = c->left ? CHUNK : TRAILER;
    return false;
}

/* Take what was read, up to the answer's end: nothing may follow it, since one request is open at a time. */
static void take(Conn *c, const char *p, size_t n, long now) {
    const char *end = p + n;
    while (p < end) {
        size_t rest = end - p, some = (long)rest < c->left ? rest : (size_t)c->left;
        switch (c->place) {
        case HEAD:
            if (c->head_len == HEAD_MOST - 1) return finish(c, false);
            p += take_head(c, p, rest);
            if (c->place == SIZED && !c->left) return finish(c, true);
            break;
        case SIZED:
            take_body(c, p, some, now);
            p += some;
            if (!(c->left -= some)) return finish(c, true);
            break;
        case TO_THE_END:
            take_body(c, p, rest, now);
            return;
        case CHUNK:
            take_body(c, p, some, now);
            p += some;
            if (!(c->left -= some)) c->place = CHUNK_END;
            break;
        case CHUNK_END:
            if (*p++ == '\n') c->place = CHUNK_SIZE;
            break;
        case CHUNK_SIZE:
        case TRAILER:
            if (take_line_byte(c, *p++)) return finish(c, true);
            break;
        }
    }
}

static void take_end(Conn *c) {
    if (c->place == TO_THE_END) {
        c->hangs_up = true;
        finish(c, true);
    } else if (c->place == HEAD && !c->head_len) { /* refused, or closed before any answer: once more, soon */
        count.reconnects += counting;
        if (c->sent) count.bad += counting;
        c->sent = 0;
        usleep(1000);
        dial(c);
    } else {
        c->hangs_up = true;
        finish(c, false);
    }
}

static void serve(Conn *c, unsigned events) {
    static char piece[1 << 18];
    if (c->fd < 0) return;
    if (events & EPOLLOUT) send_rest(c);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n > 0) take(c, piece, n, now_us());
    else if (n == 0 || errno != EAGAIN) take_end(c);
}

/* ---- the run ---- */

static void read_options(int argc, char **argv) {
    for (int o; (o = getopt(argc, argv, "p:b:u:H:e:w:d:c:o:n:P:D:mtv")) != -1;) switch (o) {
        case 'p':
            for (char *port; (port = strsep(&optarg, ",")) && option.port_count < PORTS_MOST;)
                option.ports[option.port_count++] = atoi(port);
            break;
        case 'b': option.body_file = optarg; break;
        case 'u': option.path = optarg; break;
        case 'H':
            strncat(option.headers, optarg, sizeof option.headers - strlen(option.headers) - 3);
            strcat(option.headers, "\r\n");
            break;
        case 'e': option.expect = optarg; expect_len = strlen(optarg); break;
        case 'w': option.warm = atof(optarg); break;
        case 'd': option.seconds = atof(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 'o': option.open_rate = atof(optarg); break;
        case 'n': option.requests = atol(optarg); break;
        case 'P': option.pids = optarg; break;
        case 'D': option.deltas_each = atol(optarg); break;
        case 'm': option.marks = true; break;
        case 't': option.turns = true; break;
        case 'v': option.verbose = true; break;
        default: exit(2);
    }
    if (option.port_count && option.body_file && expect_len < EXPECT_MOST) return;
    fprintf(stderr, "usage: load -p PORT[,PORT...] -b BODY_FILE [options], see the head of load.c\n");
    exit(2);
}

static Request to_request(const char *body, size_t len) {
    Request r = {0};
    if (!(r.bytes = malloc(len + 2 * HEAD_MOST))) abort();
    r.len = sprintf(r.bytes, "POST %.1024s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\nAccept: */*\r\n%s"
                             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                    option.path, option.headers, len);
    memcpy(r.bytes + r.len, body, len);
    r.len += len;
    if (!option.marks && !option.turns) return r;
    char *mark = memmem(r.bytes, r.len, "mark:00000000", 5 + MARK_DIGITS);
    if (!mark) exit((fprintf(stderr, "load: -m or -t, but no mark:00000000 in a body\n"), 2));
    r.mark = mark + 5;
    return r;
}

static void make_requests(void) {
    FILE *file = fopen(option.body_file, "rb");
    if (!file) exit((perror(option.body_file), 2));
    fseek(file, 0, SEEK_END);
    size_t len = ftell(file);
    rewind(file);
    char *text = malloc(len + 1), *end = text + len;
    if (!text || fread(text, 1, len, file) != len) exit((perror(option.body_file), 2));
    fclose(file);
    for (char *body = text, *next; body < end; body = next + 1) {
        next = option.turns ? memchr(body, '\n', end - body) : NULL;
        if (!next) next = end;
        if (!(requests = realloc(requests, (request_count + 1) * sizeof *requests))) abort();
        requests[request_count++] = to_request(body, next - body);
    }
    free(text);
}

static Request *copy_requests(void) {
    Request *copy = malloc(request_count * sizeof *copy);
    if (!copy) abort();
    for (int i = 0; i < request_count; i++) {
        const Request *from = &requests[i];
        if (!(copy[i].bytes = malloc(from->len))) abort();
        memcpy(copy[i].bytes, from->bytes, from->len);
        copy[i].len = from->len;
        copy[i].mark = copy[i].bytes + (from->mark - from->bytes);
    }
    return copy;
}

static bool open_connection(Conn *c, int number) {
    c->fd = -1;
    c->to = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons(option.ports[number % option.port_count]),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->requests = option.marks || option.turns ? copy_requests() : requests;
    c->turn = -1;
    if (!next_request(c)) return false;
    dial(c);
    return true;
}

static bool any_open(const Conn *conns, int n) {
    for (int i = 0; i < n; i++)
        if (conns[i].fd >= 0) return true;
    return false;
}

/* The longest that a request without any answer has waited so far: what never comes is in no other figure. */
static long longest_wait(const Conn *conns, int n, long now) {
    long longest = -1;
    for (int i = 0; i < n; i++)
        if (conns[i].fd >= 0 && !conns[i].first_byte && now - conns[i].started > longest) longest = now - conns[i].started;
    return longest;
}

static void print_report(long waiting, double seconds, double cpu, double load_cpu) {
    Samples *all[] = {&count.latency, &count.first_byte, &count.delay};
    for (int i = 0; i < 3; i++) qsort(all[i]->at, all[i]->len, sizeof(long), ascending);
    printf("{\"waiting_max\":%ld,\"answers\":%ld,\"bad\":%ld,\"short_answers\":%ld,\"seconds\":%.3f,\"reconnects\":%ld,\"bytes\":%ld",
           waiting, count.answers, count.bad, count.short_answers, seconds, count.reconnects, count.bytes);
    printf(",\"latency_p50\":%ld,\"latency_p99\":%ld,\"latency_max\":%ld,\"first_p50\":%ld,\"first_p99\":%ld",
           quantile(&count.latency, .5), quantile(&count.latency, .99), quantile(&count.latency, 1),
           quantile(&count.first_byte, .5), quantile(&count.first_byte, .99));
    printf(",\"deltas\":%ld,\"delay_p50\":%ld,\"delay_p99\":%ld,\"delay_max\":%ld,\"foreign\":%ld,\"disordered\":%ld",
           count.deltas, quantile(&count.delay, .5), quantile(&count.delay, .99), quantile(&count.delay, 1),
           count.foreign, count.disordered);
    printf(",\"cpu_seconds\":%.6f,\"load_cpu_seconds\":%.6f,\"statuses\":{", cpu, load_cpu);
    const char *comma = "";
    for (int i = 0; i < 600; i++)
        if (count.statuses[i]) printf("%s\"%d\":%ld", comma, i, count.statuses[i]), comma = ",";
    printf("}}\n");
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    make_requests();
    poller = epoll_create1(0);
    Conn *conns = calloc(option.connections, sizeof *conns);
    struct epoll_event events[256];
    long begin = now_us(), now = begin, count_from = begin + option.warm * 1e6, until = 0;
    double cpu = 0, load_cpu = 0;
    int opened = 0;
    for (bool all_started = false;; now = now_us()) {
        if (!counting && now >= count_from) {
            counting = true;
            count_from = now;
            until = now + option.seconds * 1e6;
            cpu = cpu_of_processes(option.pids);
            load_cpu = own_cpu();
        }
        if (counting && now >= until) break;
        double due = option.open_rate > 0 ? 1 + (now - begin) / 1e6 * option.open_rate : option.connections;
        while (opened < option.connections && opened < due && !all_started) {
            if (open_connection(&conns[opened], opened)) opened++;
            else all_started = true;
        }
        if (option.requests && started >= option.requests && !any_open(conns, opened)) break;
        long wait = ((counting ? until : count_from) - now) / 1000 + 1;
        if (opened < option.connections && wait > 1) wait = 1;
        if (option.requests && wait > 50) wait = 50;
        int n = epoll_wait(poller, events, 256, wait);
        for (int i = 0; i < n; i++) serve(events[i].data.ptr, events[i].events);
    }
    print_report(longest_wait(conns, opened, now), (now - count_from) / 1e6, cpu_of_processes(option.pids) - cpu, own_cpu() - load_cpu);
    return 0;
}
