"""Helpers for the tests of plugins: a `Context` without a host, and a data set learned fast.

```python
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy

weights = my_plugin.my_source(data=toy()).weights(InMemoryContext(seed=0))
```
"""
