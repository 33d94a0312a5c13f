// Enters another network namespace on the calling thread for the lifetime of the object.
#pragma once

class NamespaceScope
{
      public:
	// fd -1: no change of namespace.
	explicit NamespaceScope(int fd);
	// Returns to the process's namespace. Aborts the process on failure: a thread left in the
	// wrong namespace would silently open sockets there.
	~NamespaceScope();
	NamespaceScope(const NamespaceScope &) = delete;
	NamespaceScope &operator=(const NamespaceScope &) = delete;

	// 0, or the errno of the failed entry.
	int error() const
	{
		return error_;
	}

      private:
	int error_ = 0;
	bool entered_ = false;
};
