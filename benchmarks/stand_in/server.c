/* A stand-in for DynamoDB's BatchWriteItem and S3's GetObject that is never the bottleneck: one thread, epoll, no JSON
 * parser. It counts what it is sent and keeps nothing.
 *
 *     server LATENCY_MICROSECONDS FOLDER
 *
 * prints its port on 127.0.0.1 and ends when its standard input does. A POST is DynamoDB's, by X-Amz-Target; a GET is
 * S3's, path-style, of a file below FOLDER, whose ETag stands beside it in a file named with `.etag`. GET /?counts
 * answers what was counted so far. Every answer of DynamoDB comes so much later than the whole request.
 *
 * A request that HTTP does not allow ends its connection with a 400: a client's mistake in framing must show.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST_HEAD = 32 * 1024, MOST_BODY = 20 * 1000 * 1000, FIRST_BUFFER = 128 * 1024, MOST_ANSWER = 4096 };

#define SLEEP_AFTER_US 2000

typedef struct Connection {
    int socket;
    char *in;
    size_t in_size, in_capacity;
    char out[MOST_ANSWER];
    size_t out_size, out_sent;
    int file; /* what is sent after `out`, or -1 */
    off_t file_at, file_end;
    bool is_waiting; /* for its answer to be due: nothing is read meanwhile */
    bool ends_after_answer;
    bool is_gone;
    uint64_t due_us;
    uint32_t interest;
    struct Connection *next_due;
} Connection;

static int poller, timer;
static uint64_t latency_us, last_write_us;
static const char *folder;
static Connection *first_due, *last_due; /* a queue: the latency is always the same */
static uint64_t requests, items, body_bytes, deletes, gets, refused;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void watch(Connection *c, uint32_t interest) {
    if (c->interest == interest) return;
    c->interest = interest;
    struct epoll_event event = {.events = interest, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event)) die("epoll_ctl");
}

static void end_connection(Connection *c) {
    close(c->socket);
    if (c->file >= 0) close(c->file);
    free(c->in);
    if (c->is_waiting) { /* still queued: freed when it is due */
        c->is_gone = true;
        c->in = NULL;
        return;
    }
    free(c);
}

/* --- reading a request ------------------------------------------------------------------------------------------ */

typedef struct {
    const char *head, *body;
    size_t head_size, body_size;
} Request;

static bool header(const Request *r, const char *name, char *value, size_t capacity) {
    size_t length = strlen(name);
    const char *end = r->head + r->head_size;
    const char *line = memchr(r->head, '\n', r->head_size);
    for (; line && line + 1 + length < end; line = memchr(line + 1, '\n', (size_t)(end - line - 1))) {
        if (strncasecmp(line + 1, name, length) || line[1 + length] != ':') continue;
        const char *begin = line + 2 + length;
        const char *stop = memchr(begin, '\r', (size_t)(end - begin));
        if (!stop) return false;
        while (begin < stop && *begin == ' ') begin++;
        size_t size = (size_t)(stop - begin);
        if (size >= capacity) return false;
        memcpy(value, begin, size);
        value[size] = 0;
        return true;
    }
    return false;
}

/* 1: a whole request; 0: more is needed; -1: not HTTP as DynamoDB and S3 take it. */
static int next_request(Connection *c, Request *r, size_t *used) {
    char *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
    if (!end) return c->in_size > MOST_HEAD ? -1 : 0;
    *r = (Request){.head = c->in, .head_size = (size_t)(end - c->in) + 2, .body = end + 4, .body_size = 0};
    char text[64];
    bool is_post = !memcmp(c->in, "POST ", 5);
    if (!is_post && memcmp(c->in, "GET ", 4)) return -1;
    if (header(r, "transfer-encoding", text, sizeof text)) return -1;
    if (header(r, "content-length", text, sizeof text)) {
        char *rest;
        unsigned long size = strtoul(text, &rest, 10);
        if (!isdigit((unsigned char)text[0]) || *rest || size > MOST_BODY) return -1;
        r->body_size = size;
    } else if (is_post) {
        return -1;
    }
    *used = (size_t)(r->body - c->in) + r->body_size;
    if (*used > c->in_size) {
        if (*used > c->in_capacity) {
            c->in_capacity = *used;
            if (!(c->in = realloc(c->in, c->in_capacity))) die("realloc");
        }
        return 0;
    }
    return 1;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static void answer_json(Connection *c, int status, const char *body) {
    c->out_size = (size_t)snprintf(
        c->out, sizeof c->out,
        "HTTP/1.1 %d %s\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %zu\r\n"
        "Connection: %s\r\nx-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVVVVVVVVVVVVVVVVVVVVV\r\n\r\n%s",
        status, status == 200 ? "OK" : "Bad Request", strlen(body), c->ends_after_answer ? "close" : "keep-alive", body);
    c->out_sent = 0;
}

static void answer_error(Connection *c, const char *code) {
    char body[256];
    snprintf(body, sizeof body, "{\"__type\":\"com.amazonaws.dynamodb.v20120810#%s\",\"message\":\"%s\"}", code, code);
    refused++;
    answer_json(c, 400, body);
}

static uint64_t occurrences(const char *text, size_t size, const char *word) {
    uint64_t count = 0;
    size_t length = strlen(word);
    const char *end = text + size;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), word, length)); at += length) count++;
    return count;
}

/* The first string after `name`, which stands in the text as a JSON key. */
static bool string_after(const Request *r, const char *name, char *value, size_t capacity) {
    const char *end = r->body + r->body_size;
    const char *at = memmem(r->body, r->body_size, name, strlen(name));
    if (!at || !(at = memchr(at + strlen(name), '"', (size_t)(end - at) - strlen(name)))) return false;
    const char *stop = memchr(at + 1, '"', (size_t)(end - at - 1));
    if (!stop || (size_t)(stop - at) > capacity) return false;
    memcpy(value, at + 1, (size_t)(stop - at - 1));
    value[stop - at - 1] = 0;
    return true;
}

static bool wants_capacity(const Request *r) {
    static const char name[] = "\"ReturnConsumedCapacity\"";
    size_t edge = r->body_size < 200 ? r->body_size : 200;
    return memmem(r->body, edge, name, sizeof name - 1) ||
           memmem(r->body + r->body_size - edge, edge, name, sizeof name - 1);
}

static void answer_batch(Connection *c, const Request *r) {
    uint64_t puts = occurrences(r->body, r->body_size, "\"PutRequest\"");
    uint64_t removals = occurrences(r->body, r->body_size, "\"DeleteRequest\"");
    if (puts + removals < 1 || puts + removals > 25) {
        answer_error(c, "ValidationException");
        return;
    }
    requests++;
    items += puts;
    deletes += removals;
    body_bytes += r->body_size;
    if (!wants_capacity(r)) {
        answer_json(c, 200, "{\"UnprocessedItems\":{}}");
        return;
    }
    char table[256] = "", body[512];
    string_after(r, "\"RequestItems\"", table, sizeof table);
    uint64_t units = (r->body_size + 1023) / 1024;
    if (units < puts + removals) units = puts + removals;
    snprintf(body, sizeof body, "{\"ConsumedCapacity\":[{\"CapacityUnits\":%llu.0,\"TableName\":\"%s\"}],\"UnprocessedItems\":{}}",
             (unsigned long long)units, table);
    answer_json(c, 200, body);
}

static void answer_dynamodb(Connection *c, const Request *r) {
    char target[128];
    const char *dot = header(r, "x-amz-target", target, sizeof target) ? strchr(target, '.') : NULL;
    const char *operation = dot ? dot + 1 : "";
    if (!strcmp(operation, "BatchWriteItem")) {
        answer_batch(c, r);
    } else if (!strcmp(operation, "PutItem")) {
        requests++;
        items++;
        body_bytes += r->body_size;
        answer_json(c, 200, "{}");
    } else if (!strcmp(operation, "DescribeTable")) {
        char table[256] = "", body[1024];
        string_after(r, "\"TableName\":", table, sizeof table);
        snprintf(body, sizeof body,
                 "{\"Table\":{\"TableName\":\"%s\",\"TableStatus\":\"ACTIVE\",\"ItemCount\":0,\"TableSizeBytes\":0,"
                 "\"AttributeDefinitions\":[{\"AttributeName\":\"id\",\"AttributeType\":\"S\"}],"
                 "\"KeySchema\":[{\"AttributeName\":\"id\",\"KeyType\":\"HASH\"}],"
                 "\"ProvisionedThroughput\":{\"ReadCapacityUnits\":0,\"WriteCapacityUnits\":0}}}",
                 table);
        answer_json(c, 200, body);
    } else {
        answer_error(c, "UnknownOperationException");
    }
}

static void answer_s3_error(Connection *c, int status, const char *code) {
    char body[128];
    int size = snprintf(body, sizeof body, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code);
    c->out_size = (size_t)snprintf(c->out, sizeof c->out,
                                   "HTTP/1.1 %d %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s",
                                   status, code, size, body);
    c->out_sent = 0;
}

static bool decoded(const char *text, size_t size, char *path, size_t capacity) {
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        char byte = text[i];
        if (byte == '%' && i + 2 < size) {
            char digits[3] = {text[i + 1], text[i + 2], 0};
            byte = (char)strtol(digits, NULL, 16);
            i += 2;
        }
        if (length + 1 >= capacity) return false;
        path[length++] = byte;
    }
    path[length] = 0;
    return !strstr(path, "/../");
}

/* The two of `bytes=BEGIN-END`, END being optional; both inclusive. */
static bool range_of(const char *text, off_t size, off_t *begin, off_t *end) {
    long long from, to;
    int count = sscanf(text, "bytes=%lld-%lld", &from, &to);
    if (count < 1 || from < 0 || from >= size) return false;
    *begin = (off_t)from;
    *end = count == 2 && to < size ? (off_t)to + 1 : size;
    return *end > *begin;
}

static void answer_s3(Connection *c, const Request *r) {
    char path[2048], name[2200], etag[128] = "", wanted[160], range[128];
    const char *begin = r->head + 4;
    const char *stop = memchr(begin, ' ', r->head_size - 4);
    const char *query = stop ? memchr(begin, '?', (size_t)(stop - begin)) : NULL;
    if (!stop || !decoded(begin, (size_t)((query ? query : stop) - begin), path, sizeof path)) {
        answer_s3_error(c, 400, "InvalidRequest");
        return;
    }
    snprintf(name, sizeof name, "%s%s.etag", folder, path);
    int sidecar = open(name, O_RDONLY);
    name[strlen(name) - strlen(".etag")] = 0;
    int file = sidecar < 0 ? -1 : open(name, O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status)) {
        if (sidecar >= 0) close(sidecar);
        answer_s3_error(c, 404, "NoSuchKey");
        return;
    }
    ssize_t length = read(sidecar, etag, sizeof etag - 1);
    etag[length < 0 ? 0 : length] = 0;
    close(sidecar);
    if (header(r, "if-match", wanted, sizeof wanted)) {
        size_t quoted = strlen(etag);
        if (strlen(wanted) != quoted + 2 || memcmp(wanted + 1, etag, quoted)) {
            close(file);
            answer_s3_error(c, 412, "PreconditionFailed");
            return;
        }
    }
    off_t from = 0, to = status.st_size;
    bool is_part = header(r, "range", range, sizeof range);
    if (is_part && !range_of(range, status.st_size, &from, &to)) {
        close(file);
        answer_s3_error(c, 416, "InvalidRange");
        return;
    }
    char extent[128] = "";
    if (is_part) {
        snprintf(extent, sizeof extent, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)from, (long long)to - 1,
                 (long long)status.st_size);
    }
    gets++;
    c->out_size = (size_t)snprintf(
        c->out, sizeof c->out,
        "HTTP/1.1 %s\r\nContent-Type: binary/octet-stream\r\nAccept-Ranges: bytes\r\nETag: \"%s\"\r\n%s"
        "Content-Length: %lld\r\nLast-Modified: Sat, 21 Nov 2026 01:00:00 GMT\r\n\r\n",
        is_part ? "206 Partial Content" : "200 OK", etag, extent, (long long)(to - from));
    c->out_sent = 0;
    c->file = file;
    c->file_at = from;
    c->file_end = to;
}

static void answer_counts(Connection *c) {
    char body[256];
    snprintf(body, sizeof body,
             "{\"requests\":%llu,\"items\":%llu,\"deletes\":%llu,\"body_bytes\":%llu,\"gets\":%llu,\"refused\":%llu}",
             (unsigned long long)requests, (unsigned long long)items, (unsigned long long)deletes,
             (unsigned long long)body_bytes, (unsigned long long)gets, (unsigned long long)refused);
    answer_json(c, 200, body);
}

/* --- a connection's course -------------------------------------------------------------------------------------- */

/* Whether the answer is on its way as a whole. False: the socket takes no more for now, or is gone. */
static bool send_answer(Connection *c) {
    while (c->out_sent < c->out_size) {
        int more = c->file >= 0 ? MSG_MORE : 0;
        ssize_t sent = send(c->socket, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL | more);
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) {
            c->ends_after_answer = c->is_gone = true;
            return false;
        }
        c->out_sent += (size_t)sent;
    }
    while (c->file >= 0 && c->file_at < c->file_end) {
        ssize_t sent = sendfile(c->socket, c->file, &c->file_at, (size_t)(c->file_end - c->file_at));
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent <= 0) {
            c->ends_after_answer = c->is_gone = true;
            return false;
        }
    }
    if (c->file >= 0) close(c->file);
    c->file = -1;
    c->out_size = c->out_sent = 0;
    return true;
}

static void queue_until_due(Connection *c) {
    c->is_waiting = true;
    c->due_us = last_write_us + latency_us;
    c->next_due = NULL;
    if (last_due) last_due->next_due = c;
    else first_due = c;
    last_due = c;
    watch(c, 0);
}

/* Answers what stands in the buffer, and sees to what the connection waits for next. */
static void go_on(Connection *c) {
    while (!c->is_waiting) {
        if (c->out_size) {
            if (!send_answer(c)) {
                if (c->is_gone) break;
                watch(c, EPOLLOUT);
                return;
            }
            if (c->ends_after_answer) break;
        }
        Request request;
        size_t used;
        int found = next_request(c, &request, &used);
        if (!found) {
            watch(c, EPOLLIN);
            return;
        }
        bool is_delayed = false;
        if (found < 0) {
            c->ends_after_answer = true;
            answer_error(c, "SerializationException");
            used = c->in_size;
        } else if (request.head[0] == 'P') {
            last_write_us = now_us();
            is_delayed = latency_us > 0;
            answer_dynamodb(c, &request);
        } else if (!memcmp(request.head, "GET /?counts ", 13)) {
            answer_counts(c);
        } else {
            answer_s3(c, &request);
        }
        c->in_size -= used;
        memmove(c->in, c->in + used, c->in_size);
        if (is_delayed) queue_until_due(c);
    }
    if (c->is_waiting) return;
    end_connection(c);
}

static void readable(Connection *c) {
    if (c->in_size == c->in_capacity) {
        c->in_capacity *= 2;
        if (!(c->in = realloc(c->in, c->in_capacity))) die("realloc");
    }
    ssize_t size = recv(c->socket, c->in + c->in_size, c->in_capacity - c->in_size, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        end_connection(c);
        return;
    }
    c->in_size += (size_t)size;
    go_on(c);
}

static void accept_all(int listener) {
    int socket;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        Connection *c = calloc(1, sizeof *c);
        if (!c || !(c->in = malloc(FIRST_BUFFER))) die("malloc");
        c->socket = socket;
        c->in_capacity = FIRST_BUFFER;
        c->file = -1;
        c->interest = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event)) die("epoll_ctl");
    }
}

static void release_due(void) {
    while (first_due && first_due->due_us <= now_us()) {
        Connection *c = first_due;
        first_due = c->next_due;
        if (!first_due) last_due = NULL;
        c->is_waiting = false;
        if (c->is_gone) free(c);
        else go_on(c);
    }
    if (!first_due) return;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(first_due->due_us / 1000000),
                                         .tv_nsec = (long)(first_due->due_us % 1000000) * 1000}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL)) die("timerfd_settime");
}

static int listening(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) die("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &size)) die("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: server LATENCY_MICROSECONDS FOLDER\n");
        return 2;
    }
    latency_us = strtoull(arguments[1], NULL, 10);
    folder = arguments[2];
    int listener = listening();
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    static char of_listener, of_timer, of_parent;
    struct { int file; void *mark; } watched[] = {{listener, &of_listener}, {timer, &of_timer}, {0, &of_parent}};
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = watched[i].mark};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, watched[i].file, &event)) die("epoll_ctl");
    }
    for (;;) {
        struct epoll_event events[256];
        /* Who wakes a sleeping process pays for it, and over a network no client would: no sleep between writes. */
        int ready = epoll_wait(poller, events, 256, now_us() - last_write_us < SLEEP_AFTER_US ? 0 : -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            void *mark = events[i].data.ptr;
            if (mark == &of_listener) {
                accept_all(listener);
            } else if (mark == &of_timer) {
                uint64_t times;
                if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) die("read");
            } else if (mark == &of_parent) {
                char byte;
                if (read(0, &byte, 1) <= 0) return 0;
            } else {
                Connection *c = mark;
                if (c->is_waiting) end_connection(c); /* its client hung up before the answer was due */
                else if (events[i].events & EPOLLOUT) go_on(c);
                else readable(c);
            }
        }
        release_due();
    }
}
