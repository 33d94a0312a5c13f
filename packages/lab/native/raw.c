// SPDX-License-Identifier: Apache-2.0
/*
 * raw listen <4|6> <protocol>          prints "<from address> <payload in hex>" for each packet,
 * after "listening" raw send <ip> <protocol> <hex>       sends one packet with this payload
 *
 * Packets of any IP protocol without a client here: ICMP, SCTP.
 */
#include "common.h"

static void print_packet(const union address *from, const unsigned char *bytes, size_t length)
{
	char ip[INET6_ADDRSTRLEN];

	if (from->any.sa_family == AF_INET)
		inet_ntop(AF_INET, &from->v4.sin_addr, ip, sizeof(ip));
	else
		inet_ntop(AF_INET6, &from->v6.sin6_addr, ip, sizeof(ip));
	printf("%s ", ip);
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
	printf("\n");
	fflush(stdout);
}

static int listen_for(int family, int protocol)
{
	int file = socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol);
	unsigned char packet[2048];

	if (file < 0)
		die("socket: %s", strerror(errno));
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		union address from;
		socklen_t size = sizeof(from);
		ssize_t got = recvfrom(file, packet, sizeof(packet), 0, &from.any, &size);
		/* An IPv4 raw socket shows the IP header too. */
		size_t header = family == AF_INET ? (size_t)(packet[0] & 0xf) * 4 : 0;

		if (got < 0)
			die("recvfrom: %s", strerror(errno));
		if ((size_t)got >= header)
			print_packet(&from, packet + header, (size_t)got - header);
	}
}

static int send_to(const char *ip, int protocol, const char *hex)
{
	unsigned char payload[1024];
	size_t length = strlen(hex) / 2;
	union address to;
	int file;

	if (!parse_address(ip, 0, false, &to) || length > sizeof(payload))
		die("%s is not an IP address, or the payload is too long", ip);
	for (size_t i = 0; i < length; i++) {
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			die("%s is not hex", hex);
		payload[i] = (unsigned char)byte;
	}
	file = socket(to.any.sa_family, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (file < 0 || sendto(file, payload, length, 0, &to.any, address_size(&to)) < 0)
		die("sendto: %s", strerror(errno));
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 4 && strcmp(arguments[1], "listen") == 0)
		return listen_for(arguments[2][0] == '6' ? AF_INET6 : AF_INET, atoi(arguments[3]));
	if (count == 5 && strcmp(arguments[1], "send") == 0)
		return send_to(arguments[2], atoi(arguments[3]), arguments[4]);
	die("usage: raw listen <4|6> <protocol> | raw send <ip> <protocol> <hex>");
}
