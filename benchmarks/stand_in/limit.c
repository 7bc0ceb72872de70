/* What no client on one core can beat: inflate, SHA-256 of every body, and the socket. It checks nothing, counts nothing
 * but answers, and signs with a constant.
 *
 *     limit PORT TABLE CONNECTIONS FILE...
 *
 * writes the lines of gzip files as BatchWriteItem requests of 25 and prints {"items":…,"wall_s":…,"cpu_s":…}. Needs
 * OpenSSL's libcrypto, and libisal for inflating; with -DWITH_ZLIB it takes zlib.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_ZLIB
#include <zlib.h>
#else
#include <isa-l/igzip_lib.h>
#endif

enum { BATCH = 25, READ_BYTES = 256 * 1024, BLOCK_BYTES = 256 * 1024, MOST_BODY = 16 * 1024 * 1024, HEAD_ROOM = 1024 };

typedef struct {
    int socket;
    char *out;
    size_t out_size, out_sent, body_capacity;
    char in[4096];
    size_t in_size;
} Connection;

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

/* --- lines ------------------------------------------------------------------------------------------------------ */

static char **files;
static int files_left, file = -1;
static unsigned char compressed[READ_BYTES];
static char *text; /* lines not yet taken, from text_at to text_size */
static size_t text_at, text_size, text_capacity;
static bool member_ended, block_was_full; /* then there may be more inside, although all input is consumed */

#ifdef WITH_ZLIB
static z_stream inflater;
static void begin_member(void) {
    memset(&inflater, 0, sizeof inflater);
    if (inflateInit2(&inflater, 31) != Z_OK) die("inflateInit2");
}
static size_t inflate_into(char *to, size_t room) {
    inflater.next_out = (unsigned char *)to;
    inflater.avail_out = (unsigned)room;
    int state = inflate(&inflater, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) die("inflate");
    member_ended = state == Z_STREAM_END;
    return room - inflater.avail_out;
}
#else
static struct inflate_state inflater;
static void begin_member(void) {
    isal_inflate_init(&inflater);
    inflater.crc_flag = ISAL_GZIP;
}
static size_t inflate_into(char *to, size_t room) {
    inflater.next_out = (unsigned char *)to;
    inflater.avail_out = (unsigned)room;
    if (isal_inflate(&inflater) < 0) die("isal_inflate");
    member_ended = inflater.block_state == ISAL_BLOCK_FINISH;
    return room - inflater.avail_out;
}
#endif

/* More of the current file, or of the next one; false when there is none. */
static bool more_text(void) {
    if (text_at) {
        memmove(text, text + text_at, text_size - text_at);
        text_size -= text_at;
        text_at = 0;
    }
    if (text_size + BLOCK_BYTES > text_capacity) {
        text_capacity = (text_size + BLOCK_BYTES) * 2;
        if (!(text = realloc(text, text_capacity))) die("realloc");
    }
    for (;;) {
        if (file < 0) {
            if (!files_left) return false;
            if ((file = open(*files, O_RDONLY)) < 0) die(*files);
            files++;
            files_left--;
            begin_member();
            member_ended = block_was_full = false;
            inflater.avail_in = 0;
        }
        if (!inflater.avail_in && !block_was_full) {
            ssize_t size = read(file, compressed, sizeof compressed);
            if (size < 0) die("read");
            if (!size) {
                if (!member_ended) die("a truncated file");
                close(file);
                file = -1;
                continue;
            }
            inflater.next_in = compressed;
            inflater.avail_in = (unsigned)size;
        }
        if (member_ended && inflater.avail_in) {
            unsigned char *rest = inflater.next_in;
            unsigned left = inflater.avail_in;
            begin_member();
            inflater.next_in = rest;
            inflater.avail_in = left;
            member_ended = false;
        }
        size_t got = inflate_into(text + text_size, BLOCK_BYTES);
        text_size += got;
        block_was_full = got == BLOCK_BYTES && !member_ended;
        if (got) return true;
    }
}

static char *next_line(size_t *size) {
    size_t searched = text_at;
    for (;;) {
        char *end = memchr(text + searched, '\n', text_size - searched);
        if (end) {
            char *line = text + text_at;
            *size = (size_t)(end - line);
            text_at = (size_t)(end - text) + 1;
            return line;
        }
        searched = text_size - text_at;
        if (!more_text()) return NULL;
    }
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static const char *table, *port;
static long items;

static void append(Connection *c, const char *bytes, size_t size) {
    memcpy(c->out + c->out_size, bytes, size);
    c->out_size += size;
}

/* The next batch as a request; false when no line is left. */
static bool next_request(Connection *c) {
    static const char between[] = "},{\"PutRequest\":", first[] = "{\"PutRequest\":";
    char head[HEAD_ROOM];
    c->out_size = HEAD_ROOM; /* the head is put in front of the body once its length is known */
    int size = snprintf(head, sizeof head, "{\"RequestItems\":{\"%s\":[", table);
    append(c, head, (size_t)size);
    size_t line_size;
    char *line;
    int lines = 0;
    for (; lines < BATCH && (line = next_line(&line_size)); lines++) {
        if (c->out_size + line_size + HEAD_ROOM > c->body_capacity) die("a batch that is too large");
        append(c, lines ? between : first, (lines ? sizeof between : sizeof first) - 1);
        append(c, line, line_size);
    }
    if (!lines) return false;
    append(c, "}]}}", 4);
    items += lines;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    size_t body_size = c->out_size - HEAD_ROOM;
    SHA256((unsigned char *)c->out + HEAD_ROOM, body_size, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
    size = snprintf(head, sizeof head,
                    "POST / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nX-Amz-Target: DynamoDB_20120810.BatchWriteItem\r\n"
                    "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Date: 20261121T010000Z\r\n"
                    "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-west-1/dynamodb/aws4_request, "
                    "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%s\r\nContent-Length: %zu\r\n\r\n",
                    port, hex, body_size);
    c->out_sent = HEAD_ROOM - (size_t)size;
    memcpy(c->out + c->out_sent, head, (size_t)size);
    return true;
}

/* Whether all of it is sent. */
static bool send_request(Connection *c) {
    while (c->out_sent < c->out_size) {
        ssize_t sent = send(c->socket, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) die("send");
        c->out_sent += (size_t)sent;
    }
    return true;
}

/* Whether the whole answer is there. */
static bool receive_answer(Connection *c) {
    ssize_t size = recv(c->socket, c->in + c->in_size, sizeof c->in - c->in_size - 1, 0);
    if (size < 0 && errno == EAGAIN) return false;
    if (size <= 0) die("recv");
    c->in_size += (size_t)size;
    c->in[c->in_size] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "content-length:");
    if (!end || !length) return false;
    if (c->in_size < (size_t)(end + 4 - c->in) + strtoul(length + 15, NULL, 10)) return false;
    if (memcmp(c->in, "HTTP/1.1 200", 12) || !strstr(end, "\"UnprocessedItems\":{}")) die("an answer that is not clean");
    c->in_size = 0;
    return true;
}

static Connection *connected(void) {
    Connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address)) die("connect");
    int on = 1;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->socket, F_SETFL, O_NONBLOCK);
    c->body_capacity = MOST_BODY;
    if (!(c->out = malloc(c->body_capacity))) die("malloc");
    return c;
}

static void watch(int poller, int operation, Connection *c, uint32_t interest) {
    struct epoll_event event = {.events = interest, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->socket, &event)) die("epoll_ctl");
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "usage: limit PORT TABLE CONNECTIONS FILE...\n");
        return 2;
    }
    port = arguments[1];
    table = arguments[2];
    files = arguments + 4;
    files_left = count - 4;
    double began_s = seconds(CLOCK_MONOTONIC), began_cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
    int poller = epoll_create1(0), open_requests = 0;
    for (int i = atoi(arguments[3]); i > 0; i--) {
        Connection *c = connected();
        if (!next_request(c)) break;
        open_requests++;
        watch(poller, EPOLL_CTL_ADD, c, send_request(c) ? EPOLLIN : EPOLLOUT);
    }
    while (open_requests) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                if (send_request(c)) watch(poller, EPOLL_CTL_MOD, c, EPOLLIN);
                continue;
            }
            if (!receive_answer(c)) continue;
            if (!next_request(c)) open_requests--;
            else if (!send_request(c)) watch(poller, EPOLL_CTL_MOD, c, EPOLLOUT);
        }
    }
    printf("{\"items\":%ld,\"wall_s\":%.6f,\"cpu_s\":%.6f}\n", items, seconds(CLOCK_MONOTONIC) - began_s,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - began_cpu_s);
    return 0;
}
