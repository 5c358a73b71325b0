"""What a plugin's own tests need.

A `Context` without a host, and a data set that is learned in a moment.

```python
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy

weights = my_plugin.my_source(data=toy()).weights(InMemoryContext(seed=0))
```
"""
