"""What customers fill in."""

from django import forms


class PutInBasket(forms.Form):
    pieces = forms.IntegerField(min_value=1, max_value=99, initial=1)


class PlaceOrder(forms.Form):
    email = forms.EmailField()
