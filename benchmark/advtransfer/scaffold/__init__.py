"""The scaffold: writes an installable distribution with a small plugin of one kind.

``templates/common`` holds the files of every distribution, ``templates/<kind>`` the module, its implementation and
its suite. ``{{word}}`` in a template is replaced; the words are those of `write.template_words`.
"""
