/* SPDX-License-Identifier: Apache-2.0 */
/* What the lab's traffic programs share: addresses as text, JSON text, and one way to fail. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS_TEXT_SIZE 64

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage storage;
};

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline socklen_t address_size(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

/* Reads "1.2.3.4" or "fd00::1" and a port; with `mapped`, IPv4 becomes ::ffff:1.2.3.4 on an IPv6
 * socket. */
static inline bool parse_address(const char *ip, uint16_t port, bool mapped, union address *out)
{
	char text[ADDRESS_TEXT_SIZE];

	memset(out, 0, sizeof(*out));
	if (!strchr(ip, ':') && !mapped) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(port);
		return inet_pton(AF_INET, ip, &out->v4.sin_addr) == 1;
	}
	snprintf(text, sizeof(text), "%s%s", strchr(ip, ':') ? "" : "::ffff:", ip);
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_port = htons(port);
	return inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1;
}

/* "1.2.3.4:80" or "[fd00::1]:80". */
static inline const char *address_text(const union address *address, char *text)
{
	char ip[INET6_ADDRSTRLEN];

	if (address->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &address->v4.sin_addr, ip, sizeof(ip));
		snprintf(text, ADDRESS_TEXT_SIZE, "%s:%u", ip, ntohs(address->v4.sin_port));
	} else {
		inet_ntop(AF_INET6, &address->v6.sin6_addr, ip, sizeof(ip));
		snprintf(text, ADDRESS_TEXT_SIZE, "[%s]:%u", ip, ntohs(address->v6.sin6_port));
	}
	return text;
}

/* Symbolic name of an errno, as Node prints it. */
static inline const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "UNKNOWN";
}

static inline void print_json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c < 0x20 || *c >= 0x7f)
			fprintf(out, "\\u%04x", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

/* Tens of thousands of sockets need more descriptors than the usual limits; root may raise both. */
static inline void raise_descriptor_limit(void)
{
	struct rlimit limit = {.rlim_cur = 1u << 20, .rlim_max = 1u << 20};

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Collects bytes of standard input and hands out whole lines. */
struct line_reader {
	char bytes[4096];
	size_t used;
};

/* Reads what is there. Returns false at the end of the input. */
static inline bool read_more(struct line_reader *reader)
{
	ssize_t got =
	    read(STDIN_FILENO, reader->bytes + reader->used, sizeof(reader->bytes) - reader->used);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	reader->used += (size_t)got;
	return got > 0;
}

static inline bool next_line(struct line_reader *reader, char *line, size_t size)
{
	char *end = memchr(reader->bytes, '\n', reader->used);
	size_t length;

	if (!end)
		return false;
	length = (size_t)(end - reader->bytes);
	snprintf(line, size, "%.*s", (int)length, reader->bytes);
	reader->used -= length + 1;
	memmove(reader->bytes, end + 1, reader->used);
	return true;
}
