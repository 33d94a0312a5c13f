// Puts the calling thread into another network namespace for the length of a C++ scope.
#pragma once

class NamespaceScope
{
      public:
	// fd -1: stay where the thread is.
	explicit NamespaceScope(int fd);
	// Returns to the process's own namespace, or ends the process: a thread in the wrong
	// namespace would open sockets there without anyone noticing.
	~NamespaceScope();
	NamespaceScope(const NamespaceScope &) = delete;
	NamespaceScope &operator=(const NamespaceScope &) = delete;

	// 0, or the errno with which entering failed.
	int error() const
	{
		return error_;
	}

      private:
	int error_ = 0;
	bool entered_ = false;
};
