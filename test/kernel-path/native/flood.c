/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flood INTERFACE SOURCE DESTINATION FIRST COUNT [used]: sends the first packets of COUNT
 * connections with different ports, from number FIRST on, as a pod with NET_RAW may; with `used`
 * also a reset of each, for which the wire looks the connection up again. The frames have the
 * interface's own hardware address as their destination, so that first packets do not go beyond the
 * node's side of it.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS 50000

struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

int main(int count, char **arguments)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
	struct sockaddr_ll device = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct frame frame = {};
	struct ifreq request = {};
	long first, last;

	if (fd < 0 || count < 6)
		return 2;
	strncpy(request.ifr_name, arguments[1], IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		return 2;
	memcpy(frame.ethernet.h_source, request.ifr_hwaddr.sa_data, ETH_ALEN);
	memcpy(frame.ethernet.h_dest, request.ifr_hwaddr.sa_data, ETH_ALEN);
	frame.ethernet.h_proto = htons(ETH_P_IP);
	device.sll_ifindex = if_nametoindex(arguments[1]);
	if (bind(fd, (struct sockaddr *)&device, sizeof(device)))
		return 2;
	frame.ip.version = 4;
	frame.ip.ihl = 5;
	frame.ip.tot_len = htons(sizeof(frame.ip) + sizeof(frame.tcp));
	frame.ip.ttl = 64;
	frame.ip.protocol = IPPROTO_TCP;
	inet_pton(AF_INET, arguments[2], &frame.ip.saddr);
	inet_pton(AF_INET, arguments[3], &frame.ip.daddr);
	frame.tcp.doff = 5;
	frame.tcp.syn = 1;
	first = atol(arguments[4]);
	last = first + atol(arguments[5]);
	for (long number = first; number < last; number++) {
		frame.tcp.source = htons(10000 + number % PORTS);
		frame.tcp.dest = htons(20000 + number / PORTS);
		for (int resets = 0; resets <= (count > 6); resets++) {
			frame.tcp.syn = !resets;
			frame.tcp.rst = resets;
			while (send(fd, &frame, sizeof(frame), 0) < 0)
				usleep(100);
		}
	}
	return 0;
}
