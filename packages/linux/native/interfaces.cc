// The interfaces of a network namespace, and the other ends of its veth pairs.
#include "environment.h"
#include "namespace_scope.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <map>
#include <string>
#include <vector>

namespace
{

constexpr int no_namespace = -1;

struct Interface {
	std::string name, kind;
	std::vector<uint8_t> mac;
	std::vector<std::string> addresses;
	uint32_t peer = 0;
	int peer_namespace = no_namespace;
};

struct Request {
	nlmsghdr header;
	union {
		ifinfomsg link;
		ifaddrmsg address;
		rtgenmsg general;
	};
	uint8_t attributes[64];
};

uint32_t number_in(const void *data)
{
	uint32_t value;

	memcpy(&value, data, sizeof(value));
	return value;
}

void take_link(const nlmsghdr *message, std::map<uint32_t, Interface> &interfaces)
{
	auto *link = static_cast<const ifinfomsg *>(NLMSG_DATA(message));
	Interface &found = interfaces[static_cast<uint32_t>(link->ifi_index)];

	each_attribute(
	    IFLA_RTA(link), IFLA_PAYLOAD(message), [&](int type, const void *data, size_t size) {
		    if (type == IFLA_IFNAME)
			    found.name = static_cast<const char *>(data);
		    else if (type == IFLA_ADDRESS)
			    found.mac.assign(static_cast<const uint8_t *>(data),
					     static_cast<const uint8_t *>(data) + size);
		    else if (type == IFLA_LINK)
			    found.peer = number_in(data);
		    else if (type == IFLA_LINK_NETNSID)
			    found.peer_namespace = static_cast<int>(number_in(data));
		    else if (type == IFLA_LINKINFO)
			    each_attribute(data, size, [&](int inner, const void *text, size_t) {
				    if (inner == IFLA_INFO_KIND)
					    found.kind = static_cast<const char *>(text);
			    });
	    });
}

void take_address(const nlmsghdr *message, std::map<uint32_t, Interface> &interfaces)
{
	auto *address = static_cast<const ifaddrmsg *>(NLMSG_DATA(message));
	const void *local = nullptr, *remote = nullptr;
	char text[INET6_ADDRSTRLEN];

	each_attribute(IFA_RTA(address), IFA_PAYLOAD(message),
		       [&](int type, const void *data, size_t) {
			       if (type == IFA_LOCAL)
				       local = data;
			       else if (type == IFA_ADDRESS)
				       remote = data;
		       });
	// On a point-to-point interface, IFA_ADDRESS is the peer's address.
	const void *own = local != nullptr ? local : remote;
	if (own != nullptr && inet_ntop(address->ifa_family, own, text, sizeof(text)) != nullptr)
		interfaces[address->ifa_index].addresses.emplace_back(text);
}

// Returns the id that the socket's namespace has for another one, or no_namespace.
int namespace_number(Netlink &netlink, int fd)
{
	Request request = {};
	int number = no_namespace;

	request.header.nlmsg_type = RTM_GETNSID;
	request.header.nlmsg_flags = NLM_F_REQUEST;
	request.general.rtgen_family = AF_UNSPEC;
	auto *attribute = reinterpret_cast<rtattr *>(reinterpret_cast<uint8_t *>(&request) +
						     NLMSG_SPACE(sizeof(rtgenmsg)));
	attribute->rta_type = NETNSA_FD;
	attribute->rta_len = RTA_LENGTH(sizeof(fd));
	memcpy(RTA_DATA(attribute), &fd, sizeof(fd));
	request.header.nlmsg_len = NLMSG_SPACE(sizeof(rtgenmsg)) + RTA_SPACE(sizeof(fd));
	netlink.ask(request.header, [&](const nlmsghdr *message) {
		auto *data = static_cast<const uint8_t *>(NLMSG_DATA(message));
		each_attribute(data + NLMSG_ALIGN(sizeof(rtgenmsg)),
			       message->nlmsg_len - NLMSG_SPACE(sizeof(rtgenmsg)),
			       [&](int type, const void *value, size_t) {
				       if (type == NETNSA_NSID)
					       number = static_cast<int>(number_in(value));
			       });
	});
	return number;
}

Napi::Value interface_list(const Napi::CallbackInfo &info)
{
	const int other = int_at(info, 1);
	std::map<uint32_t, Interface> interfaces;
	int failed = 0, number_of_other = no_namespace;

	{
		NamespaceScope inside(int_at(info, 0));
		if (inside.error() != 0)
			return number(info, -inside.error());
		Netlink netlink(NETLINK_ROUTE);
		Request links = {}, addresses = {};
		links.header = {NLMSG_LENGTH(sizeof(ifinfomsg)), RTM_GETLINK,
				NLM_F_REQUEST | NLM_F_DUMP, 1, 0};
		addresses.header = {NLMSG_LENGTH(sizeof(ifaddrmsg)), RTM_GETADDR,
				    NLM_F_REQUEST | NLM_F_DUMP, 2, 0};
		failed = netlink.ask(
		    links.header, [&](const nlmsghdr *message) { take_link(message, interfaces); });
		if (failed == 0)
			failed = netlink.ask(addresses.header, [&](const nlmsghdr *message) {
				take_address(message, interfaces);
			});
		// After the links: listing a link assigns an id to the namespace of its other end.
		if (failed == 0)
			number_of_other = namespace_number(netlink, other);
	}
	if (failed != 0)
		return number(info, -failed);
	auto list = Napi::Array::New(info.Env());
	for (const auto &[index, found] : interfaces) {
		auto entry = Napi::Object::New(info.Env());
		auto addresses = Napi::Array::New(info.Env());
		for (const auto &text : found.addresses)
			addresses.Set(addresses.Length(), text);
		entry.Set("index", index);
		entry.Set("name", found.name);
		entry.Set("kind", found.kind);
		entry.Set("mac", Napi::Buffer<uint8_t>::Copy(info.Env(), found.mac.data(),
							     found.mac.size()));
		entry.Set("addresses", addresses);
		const bool there =
		    found.peer_namespace != no_namespace && found.peer_namespace == number_of_other;
		entry.Set("peer", there ? found.peer : 0);
		list.Set(list.Length(), entry);
	}
	return list;
}

} // namespace

void register_interfaces(Napi::Env env, Napi::Object exports)
{
	define<interface_list>(env, exports, "interfaceList");
}
