"""InventoryPool: what it says, what becomes of it, and what that means for inventory and Kubernetes."""
