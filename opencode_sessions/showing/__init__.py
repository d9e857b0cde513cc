"""What is shown of a session: HTML, one static picture, and the numbers a timeline is drawn from.

Functions of frames and rows, without a widget: the explorer and the report both stand on them.
"""
